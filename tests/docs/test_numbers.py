"""Every measured number of README, and those of docs/ that are listed here, stand in a stored result."""

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

import pytest

from rewardlab.metrics import wilson
from tests.paths import ROOT

NUMBER = re.compile(r"(?<![\w.-])\d+(?:,\d{3})*(?:\.\d+)?")
"""A number that is no part of a name, such as `smollm2`, `SmolLM2-135M` or `Apache-2.0`."""
MEASURED = ("# rewardlab", "## What the numbers are", "## Development")
"""The sections of README in which every number is a claim or one of `NOT_MEASURED`."""
NOT_MEASURED = ("Linux, 2 cores, 8 GB of memory", "Python 3.11", "intervals are 95 %", "`COVERAGE=1`")
"""What a machine needs, a convention, and an option."""
LOG, RECIPES, SPINE = "docs/log.md", "docs/benchmarks/recipes_202612.md", "docs/benchmarks/spine_202611.md"
TESTS = "docs/benchmarks/tests_202612.md"
PLAN = "docs/benchmarks/plan_202611.md"


@dataclass(frozen=True)
class Claim:
    """A text of a page, and the texts of a stored result from which its numbers come, rounded."""

    page: str
    text: str
    source: str
    stored: tuple[str, ...]


def readme(text: str, source: str, *stored: str) -> Claim:
    return Claim("README.md", text, source, stored)


def scale(text: str, *stored: str) -> Claim:
    return Claim("docs/scale.md", text, PLAN, stored)


CLAIMS = (
    readme(
        "training all layers of SmolLM2-135M on pairs peaks at 5.8 GB",
        "docs/benchmarks/train_202611.md",
        "| 12 | peak memory, shared : TRL | 0.30 (5.8 and 19.1 GB) |",
    ),
    readme(
        "`make setup` takes 58 s",
        TESTS,
        "| `make setup` with uv, nothing downloaded before | 8413fb7 | | 58 s | 100 s |",
    ),
    readme("2.8 GB of disk with torch's CPU build", TESTS, "takes 2.8 GB of disk"),
    readme("shows every step: 61 s on two cores", SPINE, "| 9 | smoke run, no cache (promoted) | 61 s |"),
    readme(
        "| `smollm2` | embedded, trained on 2,560 groups | **0.821** (0.80 to 0.85, n = 2,168) | "
        "**0.846** (0.82 to 0.87) | 0.038 |",
        LOG,
        "the same 2,560 groups and the same test split",
        "| accuracy on labels (n = 2,168) | 0.821 (0.796 to 0.845) |",
        "| accuracy on gold (n = 2,180) | 0.846 (0.820 to 0.871) |",
        "| ECE | 0.038 |",
    ),
    readme(
        "| `smoke` | embedded, trained on 1,200 groups | 0.556 (0.53 to 0.58, n = 3,424) | "
        "0.571 (0.55 to 0.59) | 0.028 |",
        RECIPES,
        "| `smoke` | embedded, trained on 1,200 groups | 0.5561 (0.5346 to 0.5787, n = 3,424) | "
        "0.5706 (0.5476 to 0.5934, n = 3,440) | 0.0283 |",
    ),
    readme(
        "learns all twelve subsets in its 320 steps",
        LOG,
        "With 320 steps at two thirds of the rate all twelve are learned.",
    ),
    readme(
        "string edits (0.71 on gold labels), arithmetic (0.71) and passages (0.76)",
        LOG,
        "| 0.846 | string edits 0.71, arithmetic 0.71, passage 0.76 |",
    ),
    readme(
        "half the groups gave 0.71 with one and 0.79 with another",
        LOG,
        "| 1,280 | 6e-4 | written out | 0 (two threads) | 0.709 |",
        "| 1,280 | 6e-4 | written out | 1 | 0.794 |",
    ),
    readme(
        "0.42 to 0.58 in nine of the eleven subsets that have it",
        LOG,
        "| unknown | 0.746 | 0.002 | 0.87 (156) | 0.50 (60) | 0.42 (12) |",
        "| injection | 0.651 | 0.024 | 0.71 (132) | 0.47 (36) | 0.58 (24) |",
    ),
    readme(
        "A run on 1,867 pairs of HH harmless, with 441 held out, took 6 min 15 s",
        SPINE,
        "| `minilm` on 1,867 pairs of HH harmless, 441 held out | 6 min 15 s |",
    ),
    readme(
        "The data firewall looks through 200,000 pairs in 51 s",
        "docs/benchmarks/firewall_202611.md",
        "| validate, 200,000 pairs |",
        "| both | **50.6 s** |",
    ),
    readme("| five minutes |", "Makefile", "run the tests, five minutes on two cores"),
    readme("| half an hour at most |", "Makefile", "(half an hour at most)"),
    readme(
        "Campaigns hold 100,000 generated cases against an oracle that shares no code with the gate",
        "tests/campaigns.py",
        "100,000 generated reports are decided as an oracle decides that shares no code with the gate",
    ),
    readme(
        "race 64 promoters for 20 rounds on MLflow and PostgreSQL",
        "tests/campaigns.py",
        "of 64 promoters at once on MLflow and PostgreSQL one wins each of 20 rounds",
    ),
    Claim(
        "docs/how-to/scoring.md",
        "seals a graph that is 1.7 to 2 times as fast",
        LOG,
        ("The bundle has 0.42 of the size and scores 1.66 and 1.85 times as fast",),
    ),
    Claim(
        "docs/scale.md",
        "a million groups take 395 s on two cores",
        "docs/benchmarks/scale_202611.md",
        ("| all four | 11.0 s | 44.7 s | 395 s | |",),
    ),
    scale("billion | 17.4 |", "| a GPU's weights, gradients and AdamW's memory | 17.38 GB |"),
    scale("**at 8,192 tokens a micro-batch** | **62** |", "| a GPU at its peak, 8,192 tokens, recompute | 62.02 GB |"),
    scale("at 16,384 tokens | 86: does not fit", "| a GPU at its peak, 16,384 tokens, recompute | 86.28 GB |"),
    scale(
        "| 8,192 | fp32, as today | 86 | 13,700 |",
        "| an epoch, 8,192 tokens, gathers of 4 bytes | 85.68 h |",
        "| cost, 8,192 tokens, gathers of 4 bytes | 13.71 k$ |",
    ),
    scale(
        "| 8,192 | bf16 | 57 | 9,100 |",
        "| an epoch, 8,192 tokens, gathers of 2 bytes | 57.12 h |",
        "| cost, 8,192 tokens, gathers of 2 bytes | 9.139 k$ |",
    ),
    scale(
        "| 16,384 | bf16 | 48 | 7,700 |",
        "| an epoch, 16,384 tokens, gathers of 2 bytes | 48.06 h |",
        "| cost, 16,384 tokens, gathers of 2 bytes | 7.69 k$ |",
    ),
    scale(
        "with 128 groups a step 61 % of the GPU time is idle, with 512 5 %, with 2,048 0.2 %",
        "| idle GPUs, 128 groups a step | 0.6133 share |",
        "| idle GPUs, 512 groups a step | 0.04888 share |",
        "| idle GPUs, 2048 groups a step | 0.001636 share |",
    ),
    scale("2.2 TB a node", "| a node's memory when the model is built | 2.224 TB |"),
    scale("memory whole, 0.83 TB", "| the first node's memory at a checkpoint | 0.834 TB |"),
    scale("before its first step, 82 us each", "| opening the data, a group | 82.43 us |"),
)


def flat(file: str) -> str:
    """Return a file's text with single blanks, so that line breaks do not count."""
    return " ".join((ROOT / file).read_text(encoding="utf-8").split())


def numbers(text: str) -> list[str]:
    """Return the numbers of a text as they are written."""
    return NUMBER.findall(text.replace("**", " "))


def rounds_to(stored: str, shown: str) -> bool:
    """Say whether a stored number, as it is or as a share or in thousands, is the shown one at its precision.

    A whole number that ends in two zeros or more is one that was rounded to hundreds or more.
    """
    digits = shown.replace(",", "")
    _, _, decimals = digits.partition(".")
    zeros = 0 if decimals else len(digits) - len(digits.rstrip("0"))
    places = zeros if zeros >= 2 else -len(decimals)
    unit, value = Decimal(1).scaleb(places), Decimal(stored.replace(",", ""))
    rounded = [(value * factor / unit).quantize(Decimal(1), ROUND_HALF_UP) * unit for factor in (1, 100, 1000)]
    return Decimal(digits) in rounded


def not_covered(page: str) -> list[str]:
    """Return the numbers of README's measured sections that no claim holds to a result."""
    sections = re.split(r"^(?=#{1,2} )", page, flags=re.MULTILINE)
    measured = [section for section in sections if section.startswith(tuple(f"{head}\n" for head in MEASURED))]
    assert len(measured) == len(MEASURED)
    text = " ".join(" ".join(measured).split())
    for covered in (*NOT_MEASURED, *(claim.text for claim in CLAIMS if claim.page == "README.md")):
        text = text.replace(covered, "")
    return numbers(text)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text[:60])
def test_a_claim_stands_on_its_page_and_its_numbers_in_the_stored_result(claim: Claim) -> None:
    assert claim.text in flat(claim.page)
    source = flat(claim.source)
    assert [text for text in claim.stored if text not in source] == [], claim.source
    stored = numbers(" ".join(claim.stored))
    assert [shown for shown in numbers(claim.text) if not any(rounds_to(other, shown) for other in stored)] == []


def test_every_number_of_readmes_measured_sections_is_a_claim() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not_covered(page) == []
    assert not_covered(page.replace("in 51 s", "in 49 s")) == ["200,000", "49"]
    assert not_covered(page.replace("## Development\n", "## Development\n\nIt is 3.5 times as fast.\n")) == ["3.5"]


def test_the_intervals_of_your_own_pairs_are_wilsons() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d,]+) \| ([\d.]+) to ([\d.]+) \|", page, re.MULTILINE)
    assert len(rows) == 3
    for num, low, high in rows:
        assert tuple(f"{end:.2f}" for end in wilson(0.65, int(num.replace(",", "")))) == (low, high)


@pytest.mark.parametrize(
    ("stored", "shown", "same"),
    [
        ("50.6", "51", True),
        ("0.845", "0.85", True),
        ("0.796", "0.80", True),
        ("0.6133", "61", True),
        ("13.71", "13,700", True),
        ("50.6", "50", False),
        ("0.846", "0.85", True),
        ("0.846", "0.84", False),
        ("2,168", "2,169", False),
    ],
)
def test_a_number_is_a_stored_one_rounded(stored: str, shown: str, same: bool) -> None:
    assert rounds_to(stored, shown) == same
