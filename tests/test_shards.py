"""One shard or eight: the same artifacts and reports, to the byte."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rewardlab.files import read_groups, tree_digest, write_groups
from rewardlab.groups import Comparison
from steps.evaluate import EvaluateConfig, evaluate, evaluate_shard, evaluate_shards
from steps.ingest import IngestConfig, ingest, ingest_shard, ingest_shards
from steps.shards import Shard, results
from steps.tokenize import TokenizeConfig, tokenize, tokenize_shard, tokenize_shards
from steps.validate import ValidateConfig, validate, validate_shard, validate_shards
from tests.test_validate import BAD, sound

COUNTS = [pytest.param(1, marks=pytest.mark.slow), 8]
_RUN = re.compile(r"\d{8}T\d{6}\.\d{6}Z|\d{4}-\d\d-\d\dT[\d:.+Z]+|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
Work = Callable[[Path, Shard], object]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut little data into many chunks, for which no processes are started."""
    monkeypatch.setattr("steps.parallel.num_cores", lambda: 1)
    monkeypatch.setattr("rewardlab.files._CHUNK_BYTES", 4000)
    monkeypatch.setattr("steps.ingest._BATCH_CHARACTERS", 2000)
    monkeypatch.setattr("steps.evaluate.sharded._BLOCK", 7)


def shards(count: int, folder: Path, work: Work) -> list[Path]:
    """Do the work of all shards, the last first; return their folders."""
    for index in reversed(range(count)):
        work(folder / f"part-{index}", Shard(index, count))
    return sorted(folder.glob("part-*"), reverse=True)


def pages(docs: Path) -> dict[str, str]:
    """Return the pages of Data Docs without the ids and times of their run; the index is nothing but those."""
    found = {page.relative_to(docs).as_posix(): page.read_text() for page in docs.rglob("*.html")}
    del found["index.html"]
    assert found
    return {_RUN.sub("", name): _RUN.sub("", text) for name, text in found.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what `fetch` makes: several formats, ids that occur again, rows that cannot be read, test data."""
    folder = tmp_path_factory.mktemp("files")
    pairs = [f'{{"prompt": "q{at}", "chosen": "good", "rejected": "bad", "id": "x{at % 30}"}}' for at in range(90)]
    (folder / "data").mkdir()
    for at in range(5):
        (folder / "data" / f"{at}.jsonl").write_text("\n".join([*pairs[at::5], "{", pairs[at][:-9]]))
    (folder / "data" / "hh.jsonl").write_text(
        '{"chosen": "\\n\\nHuman: a\\n\\nAssistant: b", "rejected": "\\n\\nHuman: a\\n\\nAssistant: c"}\n' * 4
    )
    (folder / "data" / "votes.csv").write_text("prompt,chosen,rejected\nq,a,b\nq,b,a\nq,a\n")
    (folder / "test").mkdir()
    (folder / "test" / "t.jsonl").write_text("\n".join(pairs[:7]))
    return folder


@pytest.mark.parametrize("count", COUNTS)
def test_ingest(count: int, files: Path, tmp_path: Path) -> None:
    config = IngestConfig()
    whole = ingest(config, files, tmp_path / "whole")
    parts = shards(count, tmp_path, lambda target, shard: ingest_shard(config, files, target, shard))
    assert ingest_shards(parts, tmp_path / "sharded") == whole
    assert (whole.num_test, whole.num_unreadable > 5, len(whole.formats) > 1) == (7, True, True)
    assert tree_digest(tmp_path / "sharded") == tree_digest(tmp_path / "whole") == whole.digest


@pytest.mark.parametrize("count", COUNTS)
def test_validate(count: int, tmp_path: Path) -> None:
    turned = Comparison(better=1, worse=0), Comparison(better=0, worse=1)
    copies = [replace(each, id=f"{each.id} again") for each in sound(60)[::9]]
    against = [replace(sound(60)[at], id=f"not g{at}", comparisons=(turned[at % 2],)) for at in range(0, 60, 7)]
    write_groups(tmp_path / "groups.jsonl.gz", [*sound(120), *copies, *BAD.values(), *against])
    (tmp_path / "unreadable.jsonl").write_text('{"line": 3, "reason": "invalid JSON", "row": "{"}\n')
    config = ValidateConfig(max_quarantine_share=0.4)
    whole = validate(config, tmp_path, tmp_path / "whole")
    parts = shards(count, tmp_path, lambda target, shard: validate_shard(tmp_path, target, shard))
    assert validate_shards(config, tmp_path, parts, tmp_path / "sharded") == whole
    assert whole.quarantined["is_no_copy_of_an_earlier_row"] >= len(copies)
    assert pages(tmp_path / "sharded" / "docs") == pages(tmp_path / "whole" / "docs")
    for name in ("whole", "sharded"):
        shutil.rmtree(tmp_path / name / "docs")  # which hold times
    assert tree_digest(tmp_path / "sharded") == tree_digest(tmp_path / "whole") == whole.digest
    with pytest.raises(ValueError, match=r"few_rows_are_quarantined does not hold: quarantined is 0\.1"):
        validate_shards(ValidateConfig(), tmp_path, parts, tmp_path / "refused")


@pytest.mark.parametrize("count", COUNTS)
def test_tokenize(count: int, splits: Path, tmp_path: Path) -> None:
    config = TokenizeConfig(backbone="tiny", prompt_limit=64, response_limit=48)
    whole = tokenize(config, splits, tmp_path / "whole")
    parts = shards(count, tmp_path, lambda target, shard: tokenize_shard(config, splits, target, shard))
    assert tokenize_shards(config, parts, tmp_path / "sharded") == whole
    assert whole.num_truncated > 0
    assert tree_digest(tmp_path / "sharded") == tree_digest(tmp_path / "whole") == whole.digest


@pytest.mark.parametrize("count", COUNTS)
def test_evaluate(
    count: int, tiny_bundle: Path, splits: Path, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test, config = splits / "test.jsonl.gz", EvaluateConfig()
    whole = evaluate(config, tiny_bundle, test, tmp_path / "whole.json")
    monkeypatch.setenv("REWARDLAB_HOME", str(tmp_path / "another"))  # which keeps no rewards
    parts = shards(count, tmp_path, lambda target, shard: evaluate_shard(tiny_bundle, test, target, shard))
    assert evaluate_shards(config, tiny_bundle, test, parts, tmp_path / "sharded.json") == whole
    assert (tmp_path / "sharded.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_more_shards_than_work_and_a_group_over_the_budget(splits: Path, tmp_path: Path) -> None:
    write_groups(tmp_path / "few" / "train.jsonl.gz", list(read_groups(splits / "train.jsonl.gz"))[:1])
    shutil.copy(splits / "validation.jsonl.gz", tmp_path / "few")
    config = TokenizeConfig(backbone="tiny", prompt_limit=64, response_limit=48)
    parts = shards(8, tmp_path, lambda target, shard: tokenize_shard(config, tmp_path / "few", target, shard))
    assert tokenize_shards(config, parts, tmp_path / "sharded").num_train == 1
    with pytest.raises(ValueError, match="raise token_budget"):
        tokenize_shard(replace(config, token_budget=20), splits, tmp_path / "none", Shard(0, 2))
    assert not (tmp_path / "none").exists()


def test_a_shard_that_is_missing_twice_there_or_none_is_refused(files: Path, tmp_path: Path) -> None:
    parts = shards(3, tmp_path, lambda target, shard: ingest_shard(IngestConfig(), files, target, shard))
    for wrong in (parts[:2], [*parts, parts[0]], [parts[0], parts[0], parts[1]]):
        with pytest.raises(ValueError, match="each of them is needed once"):
            ingest_shards(wrong, tmp_path / "out")
    with pytest.raises(ValueError, match="a shard is one of 0 to 2, got 3"):
        Shard(3, 3)
    assert not (tmp_path / "out").exists()
    assert len(list(results(parts, str, suffix=".json"))) == 8
