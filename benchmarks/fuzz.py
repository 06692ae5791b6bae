"""Requests that schemathesis makes up from the server's own description, right ones and wrong ones."""

from typing import Any

import httpx


def fuzz(url: str, cases: int) -> int:
    """Send about that many requests over all operations; return how many were sent.

    Raises:
        AssertionError: one was answered with 500 or above, or with JSON that is none.
    """
    import schemathesis

    schema = schemathesis.openapi.from_dict(httpx.get(f"{url}/openapi.json").json())
    operations: list[Any] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    modes = tuple(schemathesis.GenerationMode)
    return sum(
        _send(url, operation.as_strategy(generation_mode=mode), cases // (len(modes) * len(operations)))
        for operation in operations
        for mode in modes
    )


def _send(url: str, strategy: Any, cases: int) -> int:
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.errors import Unsatisfiable

    count = 0

    @settings(
        max_examples=max(cases, 1),
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def send(case: Any) -> None:
        nonlocal count
        count += 1
        check(case.call(base_url=url, timeout=60))

    try:
        send()
    except Unsatisfiable:  # nothing is wrong for an operation that takes anything
        return 0
    return count


def check(answer: Any) -> None:
    """Refuse an answer that no request may have."""
    assert answer.status_code < 500, (answer.status_code, answer.text, answer.request.body)
    if answer.headers.get("content-type") == ["application/json"]:
        answer.json()
