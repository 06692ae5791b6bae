"""Read a schedule the way Kubeflow does: six fields, seconds first, in UTC."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

_FIELDS = "second minute hour day month weekday"
_BOUNDS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMES = {4: dict(zip(_MONTHS, range(1, 13), strict=True)), 5: dict(zip(_DAYS, range(7), strict=True))}
"""The names that the month's and the weekday's field may have in place of numbers."""
_PART = re.compile(r"(?:[*?]|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")


def check_cron(expression: str) -> str:
    """Return a cron expression with single blanks.

    Kubeflow takes less than many do: no `L`, `W` or `#`, and a week from 0, Sunday, to 6.

    Raises:
        ValueError: it has not six fields, or one of them is none that Kubeflow reads.
    """
    from croniter import croniter

    fields = expression.split()
    if len(fields) != 6:
        raise ValueError(
            f"a schedule has six fields ({_FIELDS}), in UTC, such as '0 30 2 * * *' for 02:30 each day; "
            f"{expression!r} has {len(fields)}"
        )
    for at, field in enumerate(fields):
        if not all(_is_read(at, part) for part in field.split(",")):
            low, high = _BOUNDS[at]
            raise ValueError(
                f"the {_FIELDS.split()[at]} of {expression!r} is {field!r}: Kubeflow reads *, numbers from {low} to "
                f"{high}, ranges such as 1-5, steps such as */15, and lists of these"
            )
    checked = " ".join(fields)
    if not croniter.is_valid(checked, second_at_beginning=True):
        raise ValueError(f"there is no time such as {expression!r}: {_FIELDS}")
    return checked


def _is_read(at: int, part: str) -> bool:
    """Say whether a part of a field is one that Kubeflow reads."""
    match = _PART.fullmatch(part.lower())
    if not match or (match["step"] is not None and int(match["step"]) == 0):
        return False
    ends = [_NAMES.get(at, {}).get(end, end) for end in (match["first"], match["last"]) if end is not None]
    numbers = [int(end) if str(end).isdecimal() else -1 for end in ends]
    low, high = _BOUNDS[at]
    return all(low <= number <= high for number in numbers) and numbers == sorted(numbers)


def in_words(expression: str) -> str:
    """Say when a schedule runs, in UTC.

    Example:
        >>> in_words("0 30 2 * * 1-5")
        'At 02:30, Monday through Friday (UTC)'
    """
    from cron_descriptor import Options, get_description

    options = Options()
    options.use_24hour_time_format = True
    return f"{get_description(check_cron(expression), options)} (UTC)"


def next_times(expression: str, *, after: datetime, num: int = 3) -> list[datetime]:
    """Return the next times of a schedule behind a moment, in UTC.

    Example:
        >>> [f"{time:%d %H:%M}" for time in next_times("0 0 2 * * *", after=datetime(2026, 11, 25, 2, tzinfo=UTC))]
        ['26 02:00', '27 02:00', '28 02:00']
    """
    from croniter import croniter

    times: Iterator[datetime] = croniter(
        check_cron(expression), after.astimezone(UTC), second_at_beginning=True
    ).all_next(datetime)
    return list(islice(times, num))
