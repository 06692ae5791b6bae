"""Backbones: where they come from, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from models.backbone import backbone_kind, load_backbone, prepare_backbone
from rewardlab.files import tree_digest


def test_tiny_backbones_have_the_same_bytes_every_time(tiny_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(7)
    assert tree_digest(prepare_backbone("tiny", tmp_path)) == tree_digest(tiny_folder)


def test_conversions_are_made_once(cache: Path, tiny_folder: Path) -> None:
    before = (tiny_folder / "model.safetensors").stat().st_mtime_ns
    assert prepare_backbone("tiny", cache) == tiny_folder
    assert (tiny_folder / "model.safetensors").stat().st_mtime_ns == before


def test_of_several_threads_one_converts(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(lambda _: prepare_backbone("tiny", tmp_path), range(3)))
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [*folders]


@pytest.mark.slow
def test_of_several_processes_one_converts(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from models.backbone import prepare_backbone; prepare_backbone('tiny')"]
    environment = {**os.environ, "REWARDLAB_CACHE": str(tmp_path)}
    started = [subprocess.Popen(command, env=environment) for _ in range(3)]
    assert [each.wait() for each in started] == [0, 0, 0]
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


def test_the_cache_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path))
    assert prepare_backbone("tiny-encoder").parent == tmp_path


def test_a_folder_is_taken_as_it_is(tiny_folder: Path, tmp_path: Path) -> None:
    assert prepare_backbone(str(tiny_folder), tmp_path) == tiny_folder
    assert not list(tmp_path.iterdir())


def test_kinds(tiny_folder: Path, encoder_folder: Path, gpt2_folder: Path) -> None:
    kinds = [backbone_kind(folder) for folder in (tiny_folder, encoder_folder, gpt2_folder)]
    assert kinds == ["causal", "encoder", "causal"]


@pytest.mark.parametrize("name", ["no-such-package", "no such thing", "json", "rewardlab-no-such/model"])
def test_an_unknown_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=name):
        prepare_backbone(name, tmp_path)


def _changed(folder: Path, target: Path, **config: object) -> Path:
    shutil.copytree(folder, target)
    values = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(values | config))
    return target


def test_remote_code_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = _changed(tiny_folder, tmp_path / "x", model_type="odd", auto_map={"AutoModel": "odd.Model"})
    (folder / "odd.py").write_text("raise SystemExit('remote code ran')")
    with pytest.raises(ValueError, match="remote code"):
        prepare_backbone(str(folder), tmp_path)


def test_pickled_weights_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = _changed(tiny_folder, tmp_path / "x")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        prepare_backbone(str(folder), tmp_path)


def test_encoder_decoders_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = _changed(tiny_folder, tmp_path / "x", model_type="bart", is_encoder_decoder=True)
    with pytest.raises(ValueError, match="bart"):
        backbone_kind(folder)


def test_weights_of_another_model_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = _changed(tiny_folder, tmp_path / "x", num_hidden_layers=3)
    with pytest.raises(ValueError, match=r"lack layers\.2"):
        load_backbone(folder, dropout=0.0)


def test_a_fast_tokenizer_is_made_where_there_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "slow"
    config = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nworld\n!\n")
    prepared = prepare_backbone(str(folder), tmp_path / "cache")
    assert (prepared / "tokenizer.json").is_file()
    assert (prepared / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_no_tokenizer_at_all_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = _changed(tiny_folder, tmp_path / "x")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="tokenizer"):
        prepare_backbone(str(folder), tmp_path / "cache")


def test_every_dropout_is_set(any_folder: Path) -> None:
    backbone = load_backbone(any_folder, dropout=0.25)
    rates = {module.p for module in backbone.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates <= {0.25}
    assert any(value == 0.25 for value in backbone.config.to_dict().values())


def test_backbones_load_in_low_precision(tiny_folder: Path) -> None:
    backbone = load_backbone(tiny_folder, dropout=0.0, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.bfloat16}
