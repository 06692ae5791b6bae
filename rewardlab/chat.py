"""Render conversations with a chat template: the only renderer there is."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rewardlab.groups import Message

PLAIN_TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
"""For tokenizers that bring no template of their own, such as those of encoders."""

_CLOCKS = {"strftime_now", "datetime", "now", "date"}


class _Generation(jinja2.ext.Extension):
    """Pass `{% generation %}` blocks through; templates use them to mark what an assistant said."""

    tags: set[str] = {"generation"}  # noqa: RUF012 (the base class declares it so)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Scope:
        """Return the block's own body; what is set inside stays inside, as in transformers."""
        next(parser.stream)
        return jinja2.nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def _refuse(message: str) -> NoReturn:
    raise ValueError(f"the chat template refuses this conversation: {message}")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON without jinja2's HTML escapes, taking the arguments that transformers takes, in its order."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _refuse
    return environment


@lru_cache(maxsize=16)
def _compile(template: str) -> jinja2.Template:
    return _environment().from_string(template)


def check_template(template: str) -> None:
    """Refuse a template that cannot be compiled or that depends on the date.

    Raises:
        ValueError: with the reason and what to do.
    """
    try:
        unknown = find_undeclared_variables(_environment().parse(template))
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"the chat template does not compile (line {error.lineno}): {error.message}") from error
    if clocks := sorted(unknown & _CLOCKS):
        raise ValueError(
            f"the chat template depends on the date ({', '.join(clocks)}), so the same text would get another reward "
            f"tomorrow (today is {date.today()}): write a fixed date into the template"
        )


def render(
    template: str,
    prompt: Sequence[Message],
    *,
    special_tokens: Mapping[str, str],
    add_generation_prompt: bool = True,
) -> str:
    """Render a conversation up to where the next assistant turn begins.

    `special_tokens` are the template's variables `bos_token`, `eos_token` and the like.

    Raises:
        ValueError: the template refuses the conversation or fails on it.
    """
    try:
        return _compile(template).render(
            messages=[{"role": turn.role, "content": turn.content} for turn in prompt],
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **special_tokens,
        )
    except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"the chat template fails on this conversation: {error}") from error


def unused_character(texts: Iterable[str]) -> str:
    """Return a private-use character that occurs in none of the texts.

    Raises:
        ValueError: the texts hold all of them.
    """
    used = set().union(*map(set, texts))
    for character in map(chr, range(0xE000, 0xF900)):
        if character not in used:
            return character
    raise ValueError("the conversation holds every private-use character from U+E000 to U+F8FF: that is no text")
