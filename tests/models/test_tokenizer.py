"""The read-out of a backbone, and policies that write other tokens."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from models.backbone import open_tokenizer
from models.tokenizer import build_readout, check_policy
from rewardlab.chat import PLAIN_TEMPLATE
from rewardlab.groups import Message, messages
from rewardlab.readout import Pooling, ReadOut
from rewardlab.tokens import TreeTokenizer


def _readout(
    folder: Path, pooling: Pooling = "last_token", prompt_limit: int = 64, response_limit: int = 32
) -> ReadOut:
    return build_readout(folder, pooling=pooling, prompt_limit=prompt_limit, response_limit=response_limit)


def _edited(folder: Path, target: Path, name: str, **values: Any) -> Path:
    shutil.copytree(folder, target)
    content = json.loads((target / name).read_text())
    (target / name).write_text(json.dumps(content | values))
    return target


def test_causal_readout_ends_with_the_turn(tiny_folder: Path) -> None:
    readout = _readout(tiny_folder)
    assert (readout.kind, readout.prefix, readout.separator, readout.end, readout.pad_id) == ("causal", (), (), (2,), 0)
    assert readout.special_tokens == {
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
    }


def test_a_causal_tokenizer_writes_what_its_model_takes(tiny_folder: Path) -> None:
    assert set(open_tokenizer(tiny_folder)("x")) == {"input_ids", "attention_mask"}


def test_causal_tokens_are_the_templates(tiny_folder: Path) -> None:
    tokenizer = TreeTokenizer(tiny_folder / "tokenizer.json", _readout(tiny_folder))
    tree = tokenizer.tree(messages("Hi"), ["Ho", ""])
    plain = Tokenizer.from_file(str(tiny_folder / "tokenizer.json"))
    text = plain.decode(list(tree.sequence(0)), skip_special_tokens=False)
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>"
    assert tree.responses[1] == (2,)


def test_encoder_readout_has_two_segments(encoder_folder: Path) -> None:
    readout = _readout(encoder_folder, "cls")
    assert (readout.kind, readout.prefix, readout.separator, readout.end) == ("encoder", (1,), (2,), (2,))
    assert readout.template == PLAIN_TEMPLATE
    tree = TreeTokenizer(encoder_folder / "tokenizer.json", readout).tree((Message("user", "Hi"),), ["Ho"])
    assert (tree.prompt[0], tree.prompt[-1], tree.sequence(0)[-1]) == (1, 2, 2)


def test_without_a_template_eos_ends_the_response(gpt2_folder: Path) -> None:
    readout = _readout(gpt2_folder)
    assert (readout.template, readout.end, readout.prefix) == (PLAIN_TEMPLATE, (1,), ())


def test_a_bos_that_is_not_eos_begins_the_plain_template(gpt2_folder: Path, tmp_path: Path) -> None:
    folder = _edited(gpt2_folder, tmp_path / "x", "tokenizer_config.json", bos_token="<|pad|>")
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    assert _readout(folder).prefix == (0,)


def test_a_tokenizer_without_pad_is_refused(gpt2_folder: Path, tmp_path: Path) -> None:
    folder = _edited(gpt2_folder, tmp_path / "x", "tokenizer_config.json", pad_token=None)
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="tokenizer has no pad token"):
        _readout(folder)


def test_pad_that_ends_the_turn_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = _edited(tiny_folder, tmp_path / "x", "tokenizer_config.json", pad_token="<|im_end|>")
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="pad and end of turn are the same token"):
        _readout(folder)


def test_a_template_that_depends_on_the_date_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "x")
    (tmp_path / "x" / "chat_template.jinja").write_text("{{ strftime_now('%Y') }}{{ messages[0].content }}")
    with pytest.raises(ValueError, match="depends on the date"):
        _readout(tmp_path / "x")


@pytest.mark.parametrize(("fixture", "most"), [("tiny_folder", 2048 - 1), ("encoder_folder", 512 - 3)])
def test_limits_fill_the_positions_and_no_more(fixture: str, most: int, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(fixture)
    assert _readout(folder, prompt_limit=most - 32).max_tokens in (2048, 512)
    with pytest.raises(ValueError, match="lower the limits"):
        _readout(folder, prompt_limit=most - 31)


def test_limits_fit_a_sliding_window(tiny_folder: Path, tmp_path: Path) -> None:
    folder = _edited(tiny_folder, tmp_path / "x", "config.json", sliding_window=90)
    with pytest.raises(ValueError, match="the backbone reads 90"):
        _readout(folder)


def test_the_first_token_of_a_causal_backbone_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match="use last_token"):
        _readout(tiny_folder, "cls")


def test_the_same_policy_is_accepted(tiny_folder: Path, cache: Path, tmp_path: Path) -> None:
    check_policy(tiny_folder, "tiny", cache)
    check_policy(tiny_folder, str(shutil.copytree(tiny_folder, tmp_path / "x")), cache)


def test_another_policy_is_refused_by_what_differs(tiny_folder: Path, encoder_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"differ in vocabulary, merges, added tokens, vocabulary size, chat template"):
        check_policy(tiny_folder, str(encoder_folder))


def test_a_policy_with_another_template_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "x")
    (tmp_path / "x" / "chat_template.jinja").write_text(PLAIN_TEMPLATE)
    with pytest.raises(ValueError, match="differ in chat template:"):
        check_policy(tiny_folder, str(tmp_path / "x"))


def test_a_policy_with_more_embeddings_or_merges_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    larger = _edited(tiny_folder, tmp_path / "x", "config.json", vocab_size=320)
    with pytest.raises(ValueError, match="differ in vocabulary size:"):
        check_policy(tiny_folder, str(larger))
    content = json.loads((tiny_folder / "tokenizer.json").read_text())["model"]
    content["vocab"]["ab"] = 259
    merged = _edited(tiny_folder, tmp_path / "y", "tokenizer.json", model=content | {"merges": ["a b"]})
    with pytest.raises(ValueError, match="differ in vocabulary, merges:"):
        check_policy(tiny_folder, str(merged))
