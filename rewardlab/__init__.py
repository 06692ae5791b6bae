"""rewardlab: load a reward model, score responses, read preference data."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rewardlab.engine import Engine

__all__ = ["__version__", "load"]


def load(ref: str, *, threads: int | None = None) -> "Engine":
    """Load a reward model for scoring.

    Args:
        ref: a bundle folder, or `models:/reward-model@champion`, a version or an alias in the registry.
        threads: for one forward pass; by default all cores.

    Raises:
        ValueError: the reference names nothing, or the bundle is damaged.

    Example:
        >>> scorer = load("models:/reward-model@champion")  # doctest: +SKIP
        >>> scorer.score("What is 2 + 2?", ["It is 4.", "It is 5."]).rewards  # doctest: +SKIP
        (1.52, -0.87)
    """
    from pathlib import Path

    from rewardlab.bundle import Bundle
    from rewardlab.engine import Engine
    from rewardlab.references import resolve

    folder, label = resolve(ref)
    engine = Engine(Bundle.open(Path(folder), label), threads=threads)
    engine.check_golden()
    return engine
