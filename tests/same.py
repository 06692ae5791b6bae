"""Show what a change has changed of what programs rely on: `make same BASE=COMMIT`.

Here and in a checkout of another commit the same things are made and written as JSON: the bundle of a smoke run, the
compiled pipeline without the code in it, the server's description, the schemas, what each command writes and with
which code it ends, and the pinned numbers. What differs is printed. Both are measured on this machine, as another
processor trains other weights.

    python -m tests.same --base COMMIT
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "same"
CHANGING = frozenset(
    (
        "seconds",
        "run_id",
        "mlflow_run",
        "created",
        "decided",
        "fresh_until",
        "git_commit",
        "report",
        "path",
        "at",
        "time",
    )
)
"""Fields that another run has otherwise."""
LINES = (
    "",
    "nope",
    "run --recipe nope",
    "run --recipe smoke --data nowhere --dry-run",
    "ingest --data nowhere --out x",
    "score --in nowhere --out x",
    "evaluate --data nowhere",
    "serve --port many",
    "report nothing",
    "models --name nobody",
    "promote 1 --name nobody",
    "lineage champion --name nobody",
    "compile --profile tpu --out x.yaml",
    "gc --keep 0 --dry-run",
)


def measure(target: Path) -> None:
    """Write what this checkout makes as JSON files into a new folder."""
    target.mkdir(parents=True)
    with TemporaryDirectory() as folder, environment(Path(folder)), chdir(folder):
        for name, make in PARTS.items():
            text = json.dumps(plain(make(Path(folder))), indent=1, sort_keys=True, ensure_ascii=False)
            (target / f"{name}.json").write_text(text.replace(folder, "FOLDER") + "\n", encoding="utf-8")


@contextmanager
def environment(folder: Path) -> Iterator[None]:
    """Keep registry, backbones and finished steps in a folder; let subprocesses import this checkout."""
    values = {"REWARDLAB_HOME": str(folder / "home"), "REWARDLAB_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    before = dict(os.environ)
    os.environ.update(values)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def plain(value: Any) -> Any:
    """Return a JSON value without what another run has otherwise: times, ids, commits."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in CHANGING and not key.endswith("_seconds")}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"\d{8}-\d{6}-smoke-[0-9a-f]{4}|\d{4}-\d\d-\d\dT[\d:.+Z]+", "MOMENT", value)
    return value


def smoke(folder: Path) -> Any:
    """Run the smoke recipe on little data; return the digest of the bundle's every file, and the summary."""
    from pipelines.local.run import Source, run
    from pipelines.recipes import recipe
    from rewardlab.bundle import Bundle
    from rewardlab.references import resolve
    from synthetic import MakeDataConfig, make_data

    make_data(MakeDataConfig(size=600), folder / "smoke-data")
    limit = {"name": "measured", "evidence": "evaluation.metrics.accuracy.value", "minimum": 0.0}
    settings = {"train.epochs": 1, "gate.sample": None, "gate.limits": [limit]}
    summary = run(recipe("smoke", settings), Source(data=str(folder / "smoke-data")), name="m")
    return {"contents": Bundle.open(resolve("models:/m@champion")[0]).contents, "summary": summary.to_dict()}


def pipeline(folder: Path) -> Any:
    """Return the compiled pipeline without the code of its components."""
    from pipelines.ir import GOLDEN, read_ir

    (document,) = read_ir(GOLDEN)
    return {key: document[key] for key in ("root", "components")}


def server(folder: Path) -> Any:
    """Return the server's description, and the committed schemas."""
    from serving.openapi import openapi
    from serving.protocols import load_protocols

    schemas = sorted((ROOT / "rewardlab" / "schemas").glob("*.json"))
    return {
        "openapi": openapi("reward-model", load_protocols().values()),
        "schemas": {path.name: json.loads(path.read_text()) for path in schemas},
    }


def numbers(folder: Path) -> Any:
    """Return the pinned numbers of a tiny model."""
    from tests.golden_values import measure as golden

    return golden(folder)


def commands(folder: Path) -> Any:
    """Return what the commands write on a fixed bundle and fixed data, and with which code each ends."""
    from models.backbone import prepare_backbone
    from tests import tiny
    from tests.command import read_lines, rewardlab

    splits = tiny.make_splits(folder)
    tokens, backbone = tiny.make_tokens(splits, folder), prepare_backbone("tiny")
    for seed in (0, 1):
        (folder / str(seed)).mkdir()
        tiny.make_bundle(splits, tokens, backbone, folder / str(seed), seed=seed)
    one, other, data = folder / "0" / "bundle", folder / "1" / "bundle", splits / "test.jsonl.gz"
    rewardlab("make-data", "--pool", 4, "--out", folder / "pool")
    lines = {
        "evaluate": ("--model", one, "--data", data),
        "compare": (one, other, "--data", data),
        "leaderboard": ("--name", "m"),
        "models": ("--name", "m"),
        "lineage": ("champion", "--name", "m"),
        "overoptimize": ("--model", one, "--data", folder / "pool", "--page", folder / "page.html"),
    }
    codes: dict[str, int] = {line: rewardlab(*line.split()).code for line in LINES}
    written: dict[str, Any] = {}
    for name, arguments in lines.items():
        target = folder / f"{name}.json"
        codes[name] = rewardlab(name, *arguments, "--json", target).code
        written[name] = json.loads(target.read_text(encoding="utf-8"))
    asked = [{"id": str(at), "prompt": f"{at}?", "responses": ["a", "b c", "d" * at]} for at in range(40)]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked) + "not json\n")
    codes["score"] = rewardlab("score", "--in", folder / "in.jsonl", "--out", folder / "scores", "--model", one).code
    written["score"] = read_lines(folder / "scores")
    monitor = ("--log", folder / "scores", "--model", one, "--page", folder / "m.html", "--json", folder / "m.json")
    codes["monitor"] = rewardlab("monitor", *monitor).code
    written["monitor"] = json.loads((folder / "m.json").read_text(encoding="utf-8"))
    return {"codes": codes, "json": written}


PARTS: dict[str, Callable[[Path], Any]] = {
    "smoke": smoke,
    "pipeline": pipeline,
    "server": server,
    "numbers": numbers,
    "commands": commands,
}


def at_commit(base: str) -> Path:
    """Return the folder of what another commit makes, measured in a worktree the first time it is asked for."""
    commit = subprocess.run(["git", "rev-parse", base], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    target = BUILD / commit.strip()
    if not target.is_dir():
        with TemporaryDirectory() as place:
            tree, made = Path(place) / "tree", Path(place) / "made"
            subprocess.run(
                ["git", "worktree", "add", "--detach", "--quiet", tree, commit.strip()], cwd=ROOT, check=True
            )
            try:
                command = [sys.executable, "-m", "tests.same", "--out", str(made)]
                subprocess.run(command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, check=True)
                target.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-R", made, target], check=True)
            finally:
                subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)
    return target


def main() -> int:
    """Compare with a commit and return 1 if anything differs; or only write what is here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="HEAD", help="commit to compare with")
    parser.add_argument("--out", type=Path, help="write what this checkout makes into this new folder, and end")
    arguments = parser.parse_args()
    if arguments.out:
        measure(arguments.out)
        return 0
    with TemporaryDirectory() as folder:
        measure(Path(folder) / "here")
        return subprocess.run(
            ["git", "diff", "--no-index", at_commit(arguments.base), Path(folder) / "here"], check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
