"""The sealed bundle: any change is refused, and what it was trained on is known."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import rewardlab
from rewardlab.bundle import MANIFEST, Bundle, Calibration, seal
from rewardlab.engine import Engine
from rewardlab.files import read_groups, read_json, write_json
from rewardlab.groups import Message, PreferenceGroup

FILES = ("model.onnx", "tokenizer.json", "readout.json", "calibration.json", "golden.jsonl", "fingerprints.npy")


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """Return a copy to damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def sealed_again(folder: Path) -> Path:
    """Seal what lies there, as one would who wants it to look whole."""
    manifest = read_json(folder / MANIFEST)
    (folder / MANIFEST).unlink()
    seal(folder, manifest)
    return folder


def test_a_whole_bundle_opens(tiny_bundle: Path) -> None:
    opened = Bundle.open(tiny_bundle)
    assert opened.label == f"reward-model/{opened.digest[:12]}"
    assert Bundle.open(tiny_bundle, "m/3").label == "m/3"
    assert sorted(path.name for path in tiny_bundle.iterdir()) == sorted((*FILES, MANIFEST))


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_refused(name: str, place: float, bundle: Path) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"is damaged: {name} is not what manifest.json says"):
        Bundle.open(bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_longer_file_is_refused(name: str, bundle: Path) -> None:
    with (bundle / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(ValueError, match=name):
        Bundle.open(bundle)
    (bundle / name).unlink()
    with pytest.raises(ValueError, match=name):
        Bundle.open(bundle)


def test_a_changed_digest_is_refused(bundle: Path) -> None:
    write_json(bundle / MANIFEST, {**read_json(bundle / MANIFEST), "digest": "0" * 64})
    with pytest.raises(ValueError, match="its digest is"):
        Bundle.open(bundle)


@pytest.mark.parametrize("manifest", ["{}", "not JSON", '{"files": {}, "digest": ""}'])
def test_another_manifest_is_refused(manifest: str, bundle: Path) -> None:
    (bundle / MANIFEST).write_text(manifest)
    with pytest.raises(ValueError, match=r"damaged|not JSON"):
        Bundle.open(bundle)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a bundle"):
        Bundle.open(tmp_path)


def test_golden_scores_that_do_not_hold_are_refused(bundle: Path) -> None:
    lines = (bundle / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[-1])
    row["rewards"][0] += 0.01
    (bundle / "golden.jsonl").write_text("\n".join([*lines[:-1], json.dumps(row)]), encoding="utf-8")
    opened = Bundle.open(sealed_again(bundle))
    with pytest.raises(ValueError, match=r"golden scores of .* are off by 1.00e-02"):
        Engine(opened).check_golden()
    with pytest.raises(ValueError, match="golden scores"):
        rewardlab.load(str(bundle))


def test_the_graph_of_another_model_does_not_hold_the_golden_scores(bundle: Path, other_bundle: Path) -> None:
    shutil.copyfile(other_bundle / "model.onnx", bundle / "model.onnx")
    with pytest.raises(ValueError, match="golden scores"):
        rewardlab.load(str(sealed_again(bundle)))


def test_a_whole_bundle_loads_and_holds_its_golden_scores(tiny_bundle: Path) -> None:
    assert len(rewardlab.load(str(tiny_bundle)).score("Hi", ["a", "b"])) == 2


def test_a_file_that_would_not_be_verified_is_not_sealed(bundle: Path) -> None:
    (bundle / "model.onnx.data").write_bytes(b"weights")
    with pytest.raises(ValueError, match=r"model\.onnx\.data in .* is no part of a bundle"):
        sealed_again(bundle)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"temperature": float("nan")}, {"sd": float("inf")}])
def test_a_calibration_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    usual = {"temperature": 1.0, "mean": 0.0, "sd": 1.0}
    with pytest.raises(ValueError, match="finite"):
        Calibration(**{**usual, **wrong}, quantiles={}, num_comparisons=1)


def test_what_it_was_trained_on_is_known(tiny_bundle: Path, splits: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    train, test = (list(read_groups(splits / f"{part}.jsonl.gz")) for part in ("train", "test"))
    assert bundle.trained_on([*test[:3], *train]) == [group.id for group in train]


def like(known: PreferenceGroup, **changes: object) -> PreferenceGroup:
    return replace(known, **{"id": "another", "comparisons": (), "scores": {}, "votes": (), **changes})


def test_a_trained_on_group_is_known_again_however_it_is_dressed(tiny_bundle: Path, splits: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    known = next(group for group in read_groups(splits / "train.jsonl.gz") if len(group.responses) > 2)
    shouted = tuple(f"  {text.upper()} " for text in known.responses)
    dressed = [
        like(known, responses=known.responses[::-1]),
        like(known, responses=known.responses[1:3]),
        like(known, responses=(*known.responses, "one more")),
        like(known, responses=shouted),
        like(known, id=known.id, responses=("quite", "other")),
    ]
    assert len(bundle.trained_on(dressed)) == len(dressed)
    asked = (Message("user", "Something else?"),)
    fresh = [like(known, responses=(known.responses[0], "new")), like(known, id=known.id, prompt=asked)]
    assert bundle.trained_on(fresh) == []


def test_a_bundle_that_cannot_tell_is_no_proof(tiny_bundle: Path, splits: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    older = replace(bundle, manifest={key: value for key, value in bundle.manifest.items() if key != "fingerprints"})
    with pytest.raises(ValueError, match="export it again"):
        older.trained_on(list(read_groups(splits / "test.jsonl.gz"))[:1])
