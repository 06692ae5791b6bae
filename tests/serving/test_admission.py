"""Admission control and the overload policies: what is admitted, what is held, what is rejected."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from serving.admission import Admission, OverloadPolicy, Throughput
from serving.limits import Limits
from tests.served import overload_policies

HELD = OverloadPolicy(hold_seconds=30, deadline_seconds=30, why="")
SHED = OverloadPolicy(hold_seconds=0, deadline_seconds=30, full_status=429, why="")


class Inside:
    """Work that a test puts in and takes out."""

    def __init__(self, tokens: int, limits: Limits | None = None) -> None:
        self.tokens = tokens
        self.throughput = Throughput(threads=1)
        self.throughput.computed(10**9, 10**6)  # 1000 tokens a second
        self.admission = Admission(limits or Limits(max_queue_seconds=2.0), self.throughput, lambda: self.tokens)


async def come(admission: Admission, policy: OverloadPolicy, *, num_bytes: int = 0) -> None:
    async with admission.admit(num_bytes, policy):
        pass


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


def test_who_finds_room_comes_in_and_who_does_not_is_told_when_to_return() -> None:
    async def work() -> None:
        inside = Inside(1900)
        await come(inside.admission, SHED)
        inside.tokens = 7000
        with pytest.raises(HTTPException) as told:
            await come(inside.admission, SHED)
        assert (told.value.status_code, told.value.headers) == (429, {"Retry-After": "5"})
        assert "7.0 s of work" in told.value.detail

    run(work)


def test_those_who_are_held_come_in_in_their_order_as_room_is_made() -> None:
    async def work() -> None:
        inside, came = Inside(5000), []

        async def wait(number: int) -> None:
            async with inside.admission.admit(0, HELD):
                came.append(number)
                inside.tokens += 1000

        waiting = [asyncio.create_task(wait(number)) for number in range(4)]
        await asyncio.sleep(0)
        assert inside.admission.num_held == 4
        for tokens, expected in ((1000, [0]), (1900, [0, 1]), (0, [0, 1, 2])):
            inside.tokens = tokens
            inside.admission.admit_waiting()
            await asyncio.sleep(0.01)
            assert came[: len(expected)] == expected
        inside.tokens = 0
        inside.admission.admit_waiting()
        await asyncio.gather(*waiting)
        assert came == [0, 1, 2, 3]

    run(work)


@pytest.mark.parametrize("end", [Admission.admit_waiting, lambda admission: admission.close("the end")])
def test_who_is_leaving_when_others_are_admitted_or_rejected_disturbs_nobody(end: Callable[[Admission], None]) -> None:
    async def work() -> None:
        inside = Inside(5000)
        leaves, stays = (asyncio.create_task(come(inside.admission, HELD, num_bytes=100)) for _ in range(2))
        await asyncio.sleep(0)
        inside.tokens = 0
        leaves.cancel()  # and has no time to say so
        end(inside.admission)
        left, stayed = await asyncio.gather(leaves, stays, return_exceptions=True)
        assert isinstance(left, asyncio.CancelledError)
        assert stayed is None or isinstance(stayed, HTTPException)
        assert (inside.admission.num_held, inside.admission.seconds()) == (0, 0.0)

    run(work)


def test_nobody_passes_those_who_wait() -> None:
    async def work() -> None:
        inside = Inside(5000)
        waiting = asyncio.create_task(come(inside.admission, HELD))
        await asyncio.sleep(0)
        inside.tokens = 0
        with pytest.raises(HTTPException):
            await come(inside.admission, SHED)
        inside.admission.admit_waiting()
        await waiting

    run(work)


def test_a_hold_ends_with_its_time_and_leaves_nothing_behind() -> None:
    async def work() -> None:
        inside = Inside(5000, Limits(max_queue_seconds=2.0, max_hold_seconds=0.01))
        with pytest.raises(HTTPException) as told:
            await come(inside.admission, HELD, num_bytes=10**6)
        assert told.value.status_code == 503
        leaver = asyncio.create_task(come(inside.admission, HELD))
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        assert inside.admission.num_held == 0
        inside.tokens = 0
        assert inside.admission.seconds() == 0.0

    run(work)


def test_held_bytes_are_bounded_and_bytes_inside_count_as_work() -> None:
    async def work() -> None:
        inside = Inside(5000, Limits(max_queue_seconds=2.0, max_held_bytes=100))
        held = asyncio.create_task(come(inside.admission, HELD, num_bytes=80))
        await asyncio.sleep(0)
        with pytest.raises(HTTPException):
            await come(inside.admission, HELD, num_bytes=80)
        inside.tokens = 0
        inside.admission.admit_waiting()
        await held
        async with inside.admission.admit(12_000, HELD):
            assert inside.admission.seconds() == pytest.approx(
                3.0, rel=1e-3
            )  # 4 bytes a token until it has been measured
            with pytest.raises(HTTPException):
                await come(inside.admission, SHED)
        await come(inside.admission, SHED)

    run(work)


def test_closed_admission_holds_nobody_and_admits_who_finds_room() -> None:
    async def work() -> None:
        inside = Inside(5000)
        held = asyncio.create_task(come(inside.admission, HELD))
        await asyncio.sleep(0)
        inside.admission.close("the server is shutting down")
        for coming in (held, come(inside.admission, HELD)):
            with pytest.raises(HTTPException, match="shutting down") as told:
                await coming
            assert told.value.status_code == 503
        inside.tokens = 0
        await come(inside.admission, HELD)

    run(work)


@pytest.mark.parametrize("name", overload_policies())
def test_an_overload_policy_is_one_that_the_protocols_client_survives(name: str) -> None:
    policy = overload_policies()[name]
    assert policy.hold_seconds <= policy.deadline_seconds
    assert policy.full_status == 503 or name == "tei"
    patience = {"native": 60, "openrlhf": 180, "slime": 120}
    assert policy.deadline_seconds < patience.get(name, float("inf"))
    if name in ("openrlhf", "verl", "llamafactory", "nemo"):
        assert policy.hold_seconds > 160
