"""What a diverged run leaves behind: its last good weights and a marker that stops a blind retry."""

from pathlib import Path

from rewardlab.files import read_json, write_json

MARKER = "diverged.json"


class DivergedError(ValueError):
    """The loss is not finite: the same configuration on the same data would diverge again."""


def refuse_retry(state: Path) -> None:
    """Refuse at once to repeat a run that diverged.

    Raises:
        DivergedError: a marker lies in `state`; the message says what to change.
    """
    marker = state / MARKER
    if marker.is_file():
        seen = read_json(marker)
        raise DivergedError(
            f"this configuration diverged before at step {seen['step']} (groups {', '.join(seen['groups'][:5])}): "
            f"lower the learning rate or mend the data; to try the same again, delete {marker}"
        )


def diverged(state: Path, *, step: int, groups: list[str], what: str, checkpoint: Path | None) -> DivergedError:
    """Leave the marker and return the error to raise."""
    kept = str(checkpoint) if checkpoint else "none was reached"
    write_json(state / MARKER, {"step": step, "groups": groups, "what": what, "checkpoint": kept})
    return DivergedError(
        f"{what} at step {step}, on groups {', '.join(groups[:8])}: training stopped; last good "
        f"checkpoint: {kept}; lower the learning rate or mend the data"
    )
