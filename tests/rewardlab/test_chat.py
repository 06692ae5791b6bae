"""The renderer gives what transformers' `apply_chat_template` gives, for every construct that templates use."""

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from rewardlab.chat import PLAIN_TEMPLATE, check_template, render, unused_character
from rewardlab.groups import Message

SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

LOOP_CONTROLS = """{{ bos_token }}
{%- for message in messages %}
    {%- if message.role == 'system' %}{% continue %}{% endif %}
    {%- if loop.index > 3 %}{% break %}{% endif %}
    [{{ loop.index0 }}/{{ loop.length }} {{ message.role }}] {{ message.content | trim }}
    {{- eos_token if loop.last else '' }}
{%- endfor %}
"""

MACROS = """{%- macro turn(role, text) -%}
<{{ role | upper }}>{{ text | replace('<', '&lt;') }}</{{ role | upper }}>
{%- endmacro %}
{%- set system = (messages | selectattr('role', 'equalto', 'system') | map(attribute='content') | list) %}
{%- if system %}{{ turn('sys', system | join(' ')) }}{% endif %}
{% for message in messages if message.role != 'system' %}
{{ turn(message['role'], message['content']) }}
{% endfor %}
{%- if add_generation_prompt %}<ASSISTANT>{% endif %}
"""

NAMESPACE = """{% set ns = namespace(num=0, last='') %}
{% for message in messages %}
    {% if message.role == 'user' %}{% set ns.num = ns.num + 1 %}{% set ns.last = message.content %}{% endif %}
{% endfor %}
{# how many the user said #}
{{ ns.num }}: {{ ns.last.strip().split('\\n')[0] }}{{ '!' ~ messages[-1]['content'][::-1] }}
{% if messages[0] is mapping and tools is not defined or not tools %}{{ '' }}no tools{% endif %}
"""

JSON = """{{ messages | tojson }}
{{ {'b': 1, 'a': messages[0].content} | tojson(indent=2) }}
{{ messages[0].content | tojson(ensure_ascii=True) }}{{ messages[0] | tojson(sort_keys=true, separators=(',', ':')) }}
{%- if tools is none %} none{% endif %}{% if documents %} documents{% endif %}
"""

GENERATION = """{% for message in messages %}
{% if message.role == 'assistant' %}
{% set mark = 'a' %}
A: {% generation %}{% set mark = 'b' %}{{ message.content }}{{ eos_token }}{% endgeneration %}{{ mark }}

{% else %}
{{ message.role[0] | upper }}: {{ message.content }}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}A: {% endif %}"""

TEMPLATES = {
    "plain": PLAIN_TEMPLATE,
    "smollm2": SMOLLM2,
    "loop controls": LOOP_CONTROLS,
    "macros": MACROS,
    "namespace": NAMESPACE,
    "json": JSON,
    "generation": GENERATION,
}

TALKS = {
    "one turn": [("user", "What is 2 < 3 & 4?")],
    "system": [("system", "Be brief."), ("user", "Hello\nthere ")],
    "many turns": [("user", "Hi"), ("assistant", "Hello!"), ("user", "  naïve \t“quotes” 日本\n"), ("user", "{{ x }}")],
    "ends with the assistant": [("system", "S"), ("user", "q"), ("assistant", "<b>a</b>"), ("user", ""), ("tool", "1")],
}


@pytest.fixture(scope="module")
def reference() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({}, unk_token="?")), **SPECIAL_TOKENS)


@pytest.mark.parametrize("generation_prompt", [True, False])
@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_rendering_is_that_of_transformers(
    name: str, talk: str, generation_prompt: bool, reference: PreTrainedTokenizerFast
) -> None:
    template, turns = TEMPLATES[name], [Message(*turn) for turn in TALKS[talk]]
    expected = reference.apply_chat_template(
        [{"role": turn.role, "content": turn.content} for turn in turns],
        chat_template=template,
        tokenize=False,
        add_generation_prompt=generation_prompt,
    )
    check_template(template)
    text = render(template, turns, special_tokens=SPECIAL_TOKENS, add_generation_prompt=generation_prompt)
    assert text == expected


def test_what_a_template_refuses_is_said() -> None:
    template = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}ok"
    assert render(template, [Message("user", "x")], special_tokens={}) == "ok"
    with pytest.raises(ValueError, match="refuses this conversation: user first"):
        render(template, [Message("system", "x")], special_tokens={})


@pytest.mark.parametrize("broken", ["{{ messages[0].content + none }}", "{{ 1 // 0 }}", "{{ nothing.at.all }}"])
def test_a_template_that_fails_says_so(broken: str) -> None:
    with pytest.raises(ValueError, match="fails on this conversation"):
        render(broken, [Message("user", "x")], special_tokens={})


def test_a_template_cannot_reach_python() -> None:
    with pytest.raises(ValueError, match="fails on this conversation"):
        render("{{ messages.__class__.__mro__[1].__subclasses__() }}", [Message("user", "x")], special_tokens={})


def test_a_template_that_does_not_compile_is_refused() -> None:
    with pytest.raises(ValueError, match=r"does not compile \(line 2\)"):
        check_template("x\n{% for message in messages %}")


@pytest.mark.parametrize(
    "clock", ["{{ strftime_now('%d %b %Y') }}", "{% if strftime_now is defined %}x{% endif %}", "{{ datetime.now() }}"]
)
def test_a_template_that_depends_on_the_date_is_refused(clock: str) -> None:
    with pytest.raises(ValueError, match="depends on the date"):
        check_template("{{ messages[0].content }}" + clock)


def test_a_date_that_is_written_down_is_accepted() -> None:
    check_template("{% set date = '26 Jul 2024' %}{{ date }}{{ messages[0].content }}")


def test_the_unused_character_is_in_no_text() -> None:
    assert unused_character(["plain", ""]) == "\ue000"
    assert unused_character(["a\ue000b", "\ue001"]) == "\ue002"
