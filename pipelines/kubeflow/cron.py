"""Read a schedule the way Kubeflow does: six fields, seconds first, in UTC."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

_FIELDS = "second minute hour day month weekday"


def check_cron(expression: str) -> str:
    """Return a cron expression with single blanks.

    Raises:
        ValueError: it has not six fields, or one of them is out of range.
    """
    from croniter import croniter

    fields = expression.split()
    if len(fields) != 6:
        raise ValueError(
            f"a schedule has six fields ({_FIELDS}), in UTC, such as '0 30 2 * * *' for 02:30 each day; "
            f"{expression!r} has {len(fields)}"
        )
    checked = " ".join(fields)
    if not croniter.is_valid(checked, second_at_beginning=True):
        raise ValueError(f"a field of {expression!r} is out of range: {_FIELDS}")
    return checked


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
