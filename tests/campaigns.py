"""Campaigns: proofs that take minutes to hours. `make campaigns` runs them and stores what they showed.

A result names the commit, the machine and the date, and holds the digest of each file that the campaign tests. `make
stale` lists the campaigns whose code has changed since, comments and docstrings aside.

    python -m tests.campaigns run [NAME ...]
    python -m tests.campaigns stale
"""

import argparse
import ast
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from pipelines.code_digest import ROOT, git_commit
from rewardlab.files import read_json, write_json

RESULTS = ROOT / "docs" / "benchmarks" / "campaigns"
REGISTRY = ("rewardlab/promotion/*.py", "rewardlab/mlflow_rest.py", "steps/promote.py", "steps/registry/promotable.py")
REGISTRY += ("steps/register.py", "steps/registry/client.py", "steps/registry/versions.py")
ENGINE = ("rewardlab/engine/*.py", "rewardlab/tokens.py")
TRAINING = ("steps/train/*.py", "models/*.py")


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """A command that ends with 0 if the claim holds, and the files (glob patterns) of the code that it tests."""

    name: str
    claim: str
    command: tuple[str, ...]
    code: tuple[str, ...]

    @classmethod
    def of_test(cls, node: str, claim: str, code: Sequence[str]) -> "Campaign":
        """Return the campaign that a test marked `campaign` is; it is named after the test."""
        command = (sys.executable, "-m", "pytest", "-m", "campaign", f"tests/{node}")
        file, _, name = node.partition("::")
        return cls(name=name.removeprefix("test_"), claim=claim, command=command, code=(*code, f"tests/{file}"))


CAMPAIGNS = (
    Campaign.of_test(
        "steps/test_gate.py::test_a_hundred_thousand_generated_cases",
        "100,000 generated reports are decided as an oracle decides that shares no code with the gate",
        ("steps/gate/*.py",),
    ),
    Campaign.of_test(
        "steps/test_promotion_race.py::test_64_promoters_race_20_rounds",
        "of 64 promoters at once on MLflow and PostgreSQL one wins each of 20 rounds",
        REGISTRY,
    ),
    Campaign.of_test(
        "steps/test_export_int8.py::test_10_000_rescorings_are_the_same_to_the_bit",
        "10,000 random batches in eight bits give each response its reward to the bit",
        (*ENGINE, "steps/export/*.py"),
    ),
    Campaign.of_test(
        "steps/test_train_resume.py::test_kill_9_at_20_random_moments_changes_no_bit",
        "a training that is killed 20 times ends with the same weights to the bit",
        TRAINING,
    ),
    Campaign.of_test(
        "steps/test_train_resume.py::test_kill_9_at_20_random_moments_with_two_processes",
        "a training of two processes that is killed 20 times ends with the same weights (1e-6)",
        TRAINING,
    ),
    Campaign.of_test(
        "serving/test_fuzz.py::test_no_generated_request_breaks_the_server",
        "no generated request of 10,000 is answered with 500 or hangs",
        ("serving/*.py", "serving/protocols/*.py", *ENGINE),
    ),
    Campaign.of_test(
        "serving/test_deployer.py::test_it_converges_in_three_thousand_campaigns",
        "the deployer reaches what the promotion log says in 3,000 runs with failures",
        ("serving/deployer/*.py", "rewardlab/kubernetes.py"),
    ),
    Campaign.of_test(
        "synthetic/test_make_data.py::test_frozen_minilm_cannot_tell_responses_apart_alone",
        "frozen MiniLM cannot tell the embedded data's responses apart without the prompt (accuracy at most 0.55)",
        ("synthetic/*.py",),
    ),
    Campaign(
        name="mutation",
        claim="tests see nearly every small break of the gate and of the registry's code",
        command=(sys.executable, "-m", "tests.mutation"),
        code=("steps/gate/*.py", *REGISTRY),
    ),
)


def digests(campaign: Campaign, root: Path = ROOT) -> dict[str, str]:
    """Return the digest of each file that a campaign tests."""
    files = {path for pattern in campaign.code for path in root.glob(pattern)}
    return {path.relative_to(root).as_posix(): code_digest(path.read_text(encoding="utf-8")) for path in sorted(files)}


def code_digest(text: str) -> str:
    """Return the digest of what Python code does: of its syntax tree without comments, docstrings and layout.

    Example:
        >>> code_digest("x = 1  # one") == code_digest("x = 1")
        True
    """
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [line for line in node.body if not _is_text(line)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(line: ast.stmt) -> bool:
    """Say whether a statement is only a string, such as a docstring."""
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def run(campaign: Campaign, results: Path = RESULTS, root: Path = ROOT, *, commit: str = "") -> bool:
    """Run a campaign, store its result with the commit and the code that it began with, and say whether it holds."""
    commit, code = commit or git_commit(), digests(campaign, root)
    started = time.monotonic()
    done = subprocess.run(campaign.command, cwd=root, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    result = {
        "name": campaign.name,
        "claim": campaign.claim,
        "holds": done.returncode == 0,
        "output": lines[-1] if lines else "",
        "seconds": round(time.monotonic() - started),
        "commit": commit,
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "code": code,
    }
    write_json(results / f"{campaign.name}.json", result)
    return bool(result["holds"])


def stale(campaigns: Sequence[Campaign] = CAMPAIGNS, results: Path = RESULTS, root: Path = ROOT) -> Iterator[str]:
    """Yield a line for each campaign that was never run, did not hold, or tests code that has changed since."""
    for campaign in campaigns:
        file = results / f"{campaign.name}.json"
        if not file.is_file():
            yield f"{campaign.name}: never run"
            continue
        result: dict[str, Any] = read_json(file)
        before, now = result["code"], digests(campaign, root)
        changed = sorted(path for path in {*before, *now} if before.get(path) != now.get(path))
        when = f"on {result['date']} at {result['commit'][:8]}"
        if not result["holds"]:
            yield f"{campaign.name}: did not hold {when}"
        elif changed:
            yield f"{campaign.name}: run {when}, since when these have changed: {', '.join(changed)}"


def main() -> int:
    """Run or list campaigns, as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("run", "stale"))
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*(each.name for each in CAMPAIGNS), []])
    arguments = parser.parse_args()
    if arguments.action == "stale":
        print("\n".join(stale()) or "every campaign was run on today's code")
        return 0
    commit = git_commit()  # asked once: each result that replaces an older one makes the tree dirty
    if commit.endswith("-dirty"):
        print("commit first: a result names the commit that it was measured on", file=sys.stderr)
        return 1
    held = []
    for campaign in CAMPAIGNS:
        if not arguments.names or campaign.name in arguments.names:
            print(f"{campaign.name}: {campaign.claim} ...", flush=True)
            held.append(run(campaign, commit=commit))
            print(f"{campaign.name}: {'holds' if held[-1] else 'DOES NOT HOLD'}", flush=True)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
