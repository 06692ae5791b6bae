"""What is looked at in a seeded sample, because it takes long: suspected flips, languages, offensive words."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rewardlab.config import Report
from rewardlab.files import parse_group, read_chunks
from rewardlab.groups import PreferenceGroup
from rewardlab.reports import Flips, SampleReport
from steps.common.statistics import seeded_sample
from steps.toxicity import toxicity
from steps.validate.flips import Pair, Suspicion, features_of, folds_of, pairs_of, power, suspicion
from steps.validate.language import languages

if TYPE_CHECKING:
    import pandas as pd

TRUSTED = 0.8
"""From this cross-fitted accuracy on, suspected flips are held against a limit; below they are reported."""
_OFFENSIVE = 0.5
"""A text is offensive from this probability on; a response is the more offensive of two when this much apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspect(Report):
    """A comparison whose label looks flipped, and the chance that it is right."""

    id: str
    better: int
    worse: int
    chance: float


@dataclass(frozen=True, slots=True)
class Sample:
    """A table with a row for each group of the sample, what is said about all of it, and the suspected flips."""

    table: "pd.DataFrame"
    report: SampleReport
    suspects: tuple[Suspect, ...]


def look(groups: Path, rows: Sequence[int], *, num: int, seed: int, expected: Sequence[str]) -> Sample:
    """Look at `num` of the given rows of a file of groups, all of them where there are fewer.

    Args:
        groups: the file.
        rows: the places of the groups that are accepted.
        num: how many are drawn.
        seed: draws them.
        expected: the languages that the data may be in; where there are none, any.
    """
    import pandas as pd

    chosen = seeded_sample(rows, num, seed=seed)
    wanted = set(chosen)
    lines = (line for chunk in read_chunks(groups) for line in chunk)
    drawn = [parse_group(line) for at, line in enumerate(lines) if at in wanted]
    pairs = pairs_of(drawn)
    found, about = _flips(pairs)
    columns, spoken = _spoken(drawn, expected)
    trusted = found if found and found.accuracy >= TRUSTED else None
    columns |= {"suspected": _by_group(drawn, pairs, trusted), **_offensive(drawn)}
    report = SampleReport(num=len(drawn), seed=seed, flips=about, languages=spoken)
    return Sample(pd.DataFrame(columns, index=chosen, dtype=float), report, _suspects(pairs, found))


def _flips(pairs: Sequence[Pair]) -> tuple[Suspicion | None, Flips | None]:
    """Return which labels look flipped, and how well that is told on these data; None where there are too few."""
    if len(pairs) < 10:
        return None, None
    features, folds = features_of(pairs), folds_of(pairs)
    found = suspicion(features, folds)
    return found, Flips(
        num=len(pairs),
        accuracy=found.accuracy,
        estimated_share=found.share,
        suspected=int(found.suspected.sum()),
        power=power(features, folds),
    )


def _by_group(groups: Sequence[PreferenceGroup], pairs: Sequence[Pair], found: Suspicion | None) -> list[float | None]:
    """Return the share of each group's labels that are suspected; nothing where the model knows too little."""
    if found is None:
        return [None] * len(groups)
    flags: dict[str, list[bool]] = {}
    for pair, flag in zip(pairs, found.suspected.tolist(), strict=True):
        flags.setdefault(pair.group.id, []).append(flag)
    return [float(np.mean(flags[group.id])) if group.id in flags else None for group in groups]


def _spoken(
    groups: Sequence[PreferenceGroup], expected: Sequence[str]
) -> tuple[dict[str, list[float | None]], dict[str, int]]:
    """Return whether each group holds an unexpected language, and one that its prompt is not in; and all languages."""
    foreign: list[float | None] = []
    mixed: list[float | None] = []
    spoken = Counter[str]()
    for group in groups:
        asked, *answered = languages([group.prompt[-1].content, *group.responses])
        known = [name for name in (asked, *answered) if name]
        spoken.update(known)
        foreign.append(float(any(name not in expected for name in known)) if expected and known else None)
        replies = [name for name in answered if name]
        mixed.append(float(any(name != asked for name in replies)) if asked and replies else None)
    return {"foreign": foreign, "mixed": mixed}, dict(spoken.most_common(20))


def _offensive(groups: Sequence[PreferenceGroup]) -> dict[str, list[float | None]]:
    """Return whether a preferred response is offensive, and how often the much more offensive of two is preferred."""
    chances = toxicity([text for group in groups for text in group.responses])
    starts = np.cumsum([0, *(len(group.responses) for group in groups)])
    toxic: list[float | None] = []
    wins: list[float | None] = []
    for group, start in zip(groups, starts.tolist(), strict=False):
        decided = [entry for entry in group.comparisons if entry.strength > 0.5]
        gaps = [chances[start + entry.better] - chances[start + entry.worse] for entry in decided]
        best = [chances[start + entry.better] >= _OFFENSIVE for entry in decided]
        toxic.append(float(any(best)) if best else None)
        clear = [float(gap > 0) for gap in gaps if abs(gap) >= _OFFENSIVE]
        wins.append(float(np.mean(clear)) if clear else None)
    return {"toxic": toxic, "toxic_wins": wins}


def _suspects(pairs: Sequence[Pair], found: Suspicion | None) -> tuple[Suspect, ...]:
    """Return the suspected labels, the least likely first."""
    if found is None:
        return ()
    order = [at for at in np.argsort(found.chances, kind="stable").tolist() if found.suspected[at]]
    return tuple(
        Suspect(
            id=pairs[at].group.id,
            better=pairs[at].entry.better,
            worse=pairs[at].entry.worse,
            chance=float(found.chances[at]),
        )
        for at in order
    )
