"""The data firewall: what 200,000 pairs cost, which planted defects are found, and how well flipped labels are told."""

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.defects import ALIKE, BENCHMARK, LEAK, NEARLY, Planted, plant
from benchmarks.harness import Row, at_least, at_most, parser, report
from benchmarks.scale import make, pair_lines, run_apart, text
from benchmarks.train_inputs import default_data
from rewardlab.files import write_groups
from rewardlab.groups import Comparison, Message, PreferenceGroup

NUM, QUICK = 200_000, 10_000
SAMPLED, QUICK_SAMPLE = 20_000, 1_000
_ROW = 8
_BENCHMARK = range(10**9, 10**9 + 5_000)
"""Places of pairs that are not among the data."""
_KNOWS = 0.8


def main() -> None:
    """Run what the command line asks for."""
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, default=default_data(), help="folder of preference data, with train/")
    options.add_argument(
        "--part", choices=("time", "defects", "flips"), nargs="+", default=["time", "defects", "flips"]
    )
    arguments = options.parse_args()
    parts = {"time": times, "defects": defects, "flips": flips}
    report(arguments.json, [row for name in arguments.part for row in parts[name](arguments)])


def times(arguments: argparse.Namespace) -> Iterator[Row]:
    """Yield the seconds of each step on pairs of 1.4 kB, in a process of its own, and of the sample."""
    num, sampled = (QUICK, QUICK_SAMPLE) if arguments.quick else (NUM, SAMPLED)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make(num, place / "data")
        (place / "benchmark.jsonl").write_bytes(pair_lines(_BENCHMARK))
        run_apart(partial(_ingest, place))
        spent = {
            name: run_apart(partial(work, place))[0] for name, work in (("validate", _validate), ("split", _split))
        }
        for name, seconds in spent.items():
            yield Row(row=_ROW, name=f"{name}, {num:,} pairs", value=seconds, unit="s", status="met")
        yield at_most(_ROW, f"firewall of {num:,} pairs, 5,000 of a benchmark", sum(spent.values()), "s", 60.0)
        seconds, _ = run_apart(partial(_sample, place, sampled))
        yield at_most(_ROW, f"flips, languages and offence, sample of {sampled:,}", seconds, "s", 300.0)


def _ingest(folder: Path) -> None:
    from steps.ingest import IngestConfig, ingest

    ingest(IngestConfig(), folder / "data", folder / "groups")


def _validate(folder: Path) -> None:
    from steps.validate import ValidateConfig, pinned, validate

    config = pinned(ValidateConfig(benchmarks={str(folder / "benchmark.jsonl"): ""}))
    validate(config, folder / "groups", folder / "accepted")


def _split(folder: Path) -> None:
    from steps.split import SplitConfig, split

    split(SplitConfig(), folder / "accepted", folder / "splits")


def _sample(folder: Path, num: int) -> None:
    from steps.validate.sample import look

    rows = range(sum(1 for _ in _lines(folder)))
    look(folder / "accepted" / "groups.jsonl.gz", rows, num=num, seed=0, expected=("en",))


def _lines(folder: Path) -> Iterator[bytes]:
    from rewardlab.files import read_chunks

    return (line for chunk in read_chunks(folder / "accepted" / "groups.jsonl.gz") for line in chunk)


def defects(arguments: argparse.Namespace) -> Iterator[Row]:
    """Yield the share that is found of each kind of planted defect, each in 1 % of the rows."""
    planted = plant(sound(2_000 if arguments.quick else 20_000), share=0.01)
    with tempfile.TemporaryDirectory() as folder:
        found = find(planted, Path(folder))
    for kind, ids in planted.ids.items():
        near = kind in (NEARLY, ALIKE)
        recall = len(ids & found.get(BENCHMARK if kind == NEARLY else kind, set())) / len(ids)
        yield at_least(_ROW, f"found of {len(ids)}: {kind}", recall, "", 0.95 if near else 1.0)
    wrong = set().union(*found.values()) - set().union(*planted.ids.values())
    yield at_most(_ROW, "rows that were found and have no defect", len(wrong), "rows", 0)


def find(planted: Planted, folder: Path) -> dict[str, set[str]]:
    """Validate and split planted data in a folder; return the ids that were found by kind."""
    from steps.split import SplitConfig, split
    from steps.validate import ValidateConfig, pinned, validate

    write_groups(folder / "benchmark.jsonl.gz", planted.benchmark)
    held = (replace(group, meta={"split": "test"}) for group in planted.test)
    write_groups(folder / "groups.jsonl.gz", (*planted.groups, *held))
    config = ValidateConfig(max_quarantine_share=0.5, benchmarks={str(folder / "benchmark.jsonl.gz"): ""})
    validate(pinned(config), folder, folder / "accepted")
    split(SplitConfig(), folder / "accepted", folder / "splits")
    found: dict[str, set[str]] = {}
    for name, key in (("accepted/quarantine", "reasons"), ("accepted/flagged", "flags"), ("splits/dropped", "reason")):
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            kinds = row[key] if key != "reason" else [ALIKE if "near-duplicate" in row[key] else LEAK]
            for kind in kinds:
                found.setdefault(kind, set()).add(row["id"])
    return found


def sound(num: int) -> list[PreferenceGroup]:
    """Return pairs of random words, of which each side is preferred as often."""
    draw = random.Random(0)
    return [
        PreferenceGroup(
            id=f"g{at}",
            prompt=(Message("user", text(draw, 20, 60)),),
            responses=(text(draw, 20, 90), text(draw, 20, 90)),
            comparisons=(Comparison(better=at % 2, worse=1 - at % 2),),
        )
        for at in range(num)
    ]


def flips(arguments: argparse.Namespace) -> Iterator[Row]:
    """Yield how well 20 % planted flips are found in sets of human preferences; targets where enough is known."""
    from steps.validate.flips import features_of, folds_of, pairs_of, power, suspicion

    for path in sorted(arguments.data.glob("*/*.jsonl.gz"))[: 2 if arguments.quick else None]:
        pairs = pairs_of(_read(path))[:SAMPLED]
        if len(pairs) < 200:
            continue
        features, folds = features_of(pairs), folds_of(pairs)
        known, found = suspicion(features, folds).accuracy, power(features, folds)
        about = f"{path.name.partition('.')[0]}, {len(pairs):,} pairs"
        why = f"cross-fitted accuracy {known:.3f}, lift {found.lift:.2f}"
        for name, value in (("recall", found.recall), ("precision", found.precision)):
            row = at_least(_ROW, f"flips, {name}: {about}", value, "", 0.6)
            yield replace(row, why=why) if known >= _KNOWS else replace(row, target=None, status="met", why=why)


def _read(path: Path) -> Sequence[PreferenceGroup]:
    from rewardlab.readers import BadRow, read
    from steps.common.data_files import open_rows

    return [group for group in read(open_rows(path)) if not isinstance(group, BadRow)]


if __name__ == "__main__":
    main()
