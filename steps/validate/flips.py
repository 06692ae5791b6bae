"""Which labels look flipped? Those that a model which has not seen them is sure are wrong.

The model is linear: Bradley-Terry on hashed words, pairs of words and length. It is cheap, so that a data set can be
looked at before anything is trained; what it cannot know it cannot find, and how much it finds is measured on the data
themselves, by planting flips.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from rewardlab.groups import Comparison, Message, PreferenceGroup
from rewardlab.readers.reader import content_id
from rewardlab.reports import FlipPower
from rewardlab.text import normal

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FOLDS = 5
PLANTED = 0.2
"""The share of labels that are flipped to measure what is found."""
_WORD = re.compile(r"\w+|[^\w\s]")
_DIMENSIONS = 2**20
_WORDS = 500
_SUREST = 0.25
STRENGTH = 1.0
"""Inverse of the penalty on the weights."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A decided comparison and its group."""

    group: PreferenceGroup
    entry: Comparison


@dataclass(frozen=True, slots=True)
class Suspicion:
    """P(the label is right) by pair, from a model of other families, and what follows from it.

    `share` is the estimated share of flipped labels, and `suspected` are so many of the least likely ones.
    """

    chances: Floats
    share: float
    suspected: Bools

    @property
    def accuracy(self) -> float:
        """Return how often the model agrees with the labels; a tie counts 1/2."""
        return float(np.mean((self.chances > 0.5) + 0.5 * (self.chances == 0.5)))


def pairs_of(groups: Sequence[PreferenceGroup]) -> list[Pair]:
    """Return the comparisons that are no tie."""
    return [Pair(group, entry) for group in groups for entry in group.comparisons if entry.strength > 0.5]


def suspicion(features: Any, folds: npt.NDArray[np.int64]) -> Suspicion:
    """Return which pairs look flipped.

    Args:
        features: a row for each pair, of its better response less its worse one.
        folds: which rows are held out together: of the same family, or else prompt.
    """
    return judged(cross_fitted(features, folds))


def judged(chances: Floats) -> Suspicion:
    """Return the estimated share of flips and that many of the least likely labels.

    If flips do not depend on the text (classification noise: Angluin & Laird 1988), they are as frequent where the
    model is surest as anywhere, and there hardly anything but flips makes it disagree with the labels: its rate of
    disagreement on the surest quarter is the share. So many of the labels with the lowest chance are then taken, as
    confident learning prunes by noise rate (Northcutt et al. 2021, "Confident Learning", section 3.3).
    """
    surest = np.argsort(-np.abs(chances - 0.5), kind="stable")[: math.ceil(_SUREST * len(chances))]
    share = float(np.mean(chances[surest] < 0.5))
    least = np.argsort(chances, kind="stable")[: round(share * len(chances))]
    suspected = np.zeros(len(chances), dtype=bool)
    suspected[least] = True
    return Suspicion(chances, share, suspected)


def cross_fitted(features: Any, folds: npt.NDArray[np.int64]) -> Floats:
    """Return P(better wins) of each row from a Bradley-Terry model that was fitted to the other folds.

    Every second row is turned round, so that the logistic regression, which has no intercept, sees two classes.
    """
    from scipy.sparse import diags
    from sklearn.linear_model import LogisticRegression

    sides = np.where(np.arange(len(folds)) % 2, 1.0, -1.0)
    turned = (diags(sides) @ features).tocsr()
    chances = np.full(len(folds), 0.5)
    for fold in range(FOLDS):
        held = folds == fold
        if held.any() and len(set(sides[~held])) == 2:
            model = LogisticRegression(C=STRENGTH, fit_intercept=False, solver="lbfgs", max_iter=200, tol=1e-4)
            margins = model.fit(turned[~held], sides[~held] > 0).decision_function(turned[held])
            chances[held] = 1.0 / (1.0 + np.exp(-sides[held] * margins))
    return chances


def power(features: Any, folds: npt.NDArray[np.int64], *, seed: int = 0) -> FlipPower:
    """Plant flips and return how well they are found: recall, precision, and its ratio to the share that is planted.

    Labels that were wrong before count against the precision, so it is a lower bound.
    """
    from scipy.sparse import diags

    planted = np.random.default_rng(seed).random(len(folds)) < PLANTED
    found = suspicion(diags(np.where(planted, -1.0, 1.0)) @ features, folds)
    hits = float((found.suspected & planted).sum())
    precision = hits / max(1.0, float(found.suspected.sum()))
    share = max(1.0, float(planted.sum())) / max(1, len(planted))
    return FlipPower(
        planted=float(planted.sum()),
        estimated_share=found.share,
        recall=hits / max(1.0, float(planted.sum())),
        precision=precision,
        lift=precision / share,
    )


def folds_of(pairs: Sequence[Pair]) -> npt.NDArray[np.int64]:
    """Return each pair's fold, the same for all of a family, or where there is none for all of a prompt.

    Where one prompt holds over a tenth of the pairs it is an instruction to all of them: its groups go one by one.
    """
    sharing = Counter(pair.group.prompt for pair in pairs)
    limit = max(20, len(pairs) / 10)
    keys = [_key(pair.group, alone=sharing[pair.group.prompt] > limit) for pair in pairs]
    return np.array([int(key, 16) % FOLDS for key in keys], dtype=np.int64)


def _key(group: PreferenceGroup, *, alone: bool) -> str:
    if group.family:
        return content_id((Message("user", group.family),), ())
    return content_id(group.prompt, group.responses if alone else ())


def features_of(pairs: Sequence[Pair]) -> Any:
    """Return the sparse difference of features of each pair's two responses, weighted by how rare they are."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.feature_extraction.text import TfidfTransformer

    hasher = FeatureHasher(_DIMENSIONS, input_type="string", alternate_sign=False)
    counts = [
        hasher.transform(_tokens(pair.group, getattr(pair.entry, side)) for pair in pairs)
        for side in ("better", "worse")
    ]
    rare = TfidfTransformer(sublinear_tf=True).fit(counts[0] + counts[1])
    words = (rare.transform(counts[0]) - rare.transform(counts[1])).tocsc()
    words = words[:, words.getnnz(axis=0) > 0]
    sizes = np.array(
        [[len(pair.group.responses[at]) for at in (pair.entry.better, pair.entry.worse)] for pair in pairs]
    )
    lengths = np.log1p(sizes[:, :1]) - np.log1p(sizes[:, 1:])
    return hstack([words, csr_matrix(lengths)]).tocsr()


def _tokens(group: PreferenceGroup, index: int) -> Iterator[str]:
    """Yield a response's words and pairs of neighbouring words."""
    terms = _WORD.findall(normal(group.responses[index]))[:_WORDS]
    yield from terms
    yield from map(" ".join, pairwise(terms))
