"""Three simulated annotators with stated error rates, so that labels hold ties, disagreement and mistakes."""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from rewardlab.groups import Comparison

ERROR_RATES: Mapping[str, float] = {"ada": 0.05, "ben": 0.10, "eve": 0.20}
"""How often each annotator says the opposite of what the gold ratings say, or takes a side where they are equal."""
CLOSE, TIE_RATE = 0.35, 0.3
"""Where two gold ratings differ by less than CLOSE, an annotator calls it a tie in TIE_RATE of the cases."""


def votes(
    gold: Sequence[float], lengths: Sequence[int], rng: random.Random, *, noise: float = 0.0, length_bias: float = 0.0
) -> Iterator[Comparison]:
    """Yield what each annotator says of each pair of responses.

    Args:
        gold: a rating for each response.
        lengths: the characters of each response.
        rng: where mistakes come from.
        noise: the share of votes that are replaced by a coin toss.
        length_bias: the share of votes that go to the longer response, whatever it says.
    """
    for annotator, error_rate in ERROR_RATES.items():
        for i, j in combinations(range(len(gold)), 2):
            gap, longer = gold[i] - gold[j], lengths[i] - lengths[j]
            wrong, close, coin = rng.random() < error_rate, rng.random() < TIE_RATE, rng.random() < 0.5
            if rng.random() < noise:
                gap, tie = (1.0 if coin else -1.0), False
            elif longer and rng.random() < length_bias:
                gap, tie = float(longer), False
            elif gap == 0.0:
                gap, tie = (1.0 if coin else -1.0), not wrong
            else:
                gap, tie = (-gap if wrong else gap), abs(gap) < CLOSE and close
            better, worse = (i, j) if gap > 0 else (j, i)
            yield Comparison(better=better, worse=worse, strength=0.5 if tie else 1.0, annotator=annotator)
