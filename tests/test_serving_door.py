"""The door and the overload policies: who comes in, who waits, who is sent away."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from serving.door import Door, OverloadPolicy, Pace
from serving.limits import Limits
from tests.served import overload_policies

HELD = OverloadPolicy(hold_seconds=30, deadline_seconds=30, why="")
SHED = OverloadPolicy(hold_seconds=0, deadline_seconds=30, full_status=429, why="")


class Inside:
    """Work that a test puts in and takes out."""

    def __init__(self, tokens: int, limits: Limits | None = None) -> None:
        self.tokens = tokens
        self.pace = Pace(threads=1)
        self.pace.computed(10**9, 10**6)  # 1000 tokens a second
        self.door = Door(limits or Limits(max_queue_seconds=2.0), self.pace, lambda: self.tokens)


async def come(door: Door, policy: OverloadPolicy, *, num_bytes: int = 0) -> None:
    async with door.entry(num_bytes, policy):
        pass


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


def test_who_finds_room_comes_in_and_who_does_not_is_told_when_to_return() -> None:
    async def work() -> None:
        inside = Inside(1900)
        await come(inside.door, SHED)
        inside.tokens = 7000
        with pytest.raises(HTTPException) as told:
            await come(inside.door, SHED)
        assert (told.value.status_code, told.value.headers) == (429, {"Retry-After": "5"})
        assert "7.0 s of work" in told.value.detail

    run(work)


def test_those_who_are_held_come_in_in_their_order_as_room_is_made() -> None:
    async def work() -> None:
        inside, came = Inside(5000), []

        async def wait(number: int) -> None:
            async with inside.door.entry(0, HELD):
                came.append(number)
                inside.tokens += 1000

        waiting = [asyncio.create_task(wait(number)) for number in range(4)]
        await asyncio.sleep(0)
        assert inside.door.num_held == 4
        for tokens, expected in ((1000, [0]), (1900, [0, 1]), (0, [0, 1, 2])):
            inside.tokens = tokens
            inside.door.let_in()
            await asyncio.sleep(0.01)
            assert came[: len(expected)] == expected
        inside.tokens = 0
        inside.door.let_in()
        await asyncio.gather(*waiting)
        assert came == [0, 1, 2, 3]

    run(work)


@pytest.mark.parametrize("end", [Door.let_in, lambda door: door.close("the end")])
def test_who_is_leaving_when_the_door_opens_or_closes_disturbs_nobody(end: Callable[[Door], None]) -> None:
    async def work() -> None:
        inside = Inside(5000)
        leaves, stays = (asyncio.create_task(come(inside.door, HELD, num_bytes=100)) for _ in range(2))
        await asyncio.sleep(0)
        inside.tokens = 0
        leaves.cancel()  # and has no time to say so
        end(inside.door)
        left, stayed = await asyncio.gather(leaves, stays, return_exceptions=True)
        assert isinstance(left, asyncio.CancelledError)
        assert stayed is None or isinstance(stayed, HTTPException)
        assert (inside.door.num_held, inside.door.seconds()) == (0, 0.0)

    run(work)


def test_nobody_passes_those_who_wait() -> None:
    async def work() -> None:
        inside = Inside(5000)
        waiting = asyncio.create_task(come(inside.door, HELD))
        await asyncio.sleep(0)
        inside.tokens = 0
        with pytest.raises(HTTPException):
            await come(inside.door, SHED)
        inside.door.let_in()
        await waiting

    run(work)


def test_a_hold_ends_with_its_time_and_leaves_nothing_behind() -> None:
    async def work() -> None:
        inside = Inside(5000, Limits(max_queue_seconds=2.0, max_hold_seconds=0.01))
        with pytest.raises(HTTPException) as told:
            await come(inside.door, HELD, num_bytes=10**6)
        assert told.value.status_code == 503
        leaver = asyncio.create_task(come(inside.door, HELD))
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        assert inside.door.num_held == 0
        inside.tokens = 0
        assert inside.door.seconds() == 0.0

    run(work)


def test_bytes_at_the_door_are_bounded_and_bytes_inside_count_as_work() -> None:
    async def work() -> None:
        inside = Inside(5000, Limits(max_queue_seconds=2.0, max_held_bytes=100))
        held = asyncio.create_task(come(inside.door, HELD, num_bytes=80))
        await asyncio.sleep(0)
        with pytest.raises(HTTPException):
            await come(inside.door, HELD, num_bytes=80)
        inside.tokens = 0
        inside.door.let_in()
        await held
        async with inside.door.entry(12_000, HELD):
            assert inside.door.seconds() == pytest.approx(3.0, rel=1e-3)  # 4 bytes a token until it has been measured
            with pytest.raises(HTTPException):
                await come(inside.door, SHED)
        await come(inside.door, SHED)

    run(work)


def test_a_closed_door_holds_nobody_and_lets_in_who_finds_room() -> None:
    async def work() -> None:
        inside = Inside(5000)
        held = asyncio.create_task(come(inside.door, HELD))
        await asyncio.sleep(0)
        inside.door.close("the server is shutting down")
        for coming in (held, come(inside.door, HELD)):
            with pytest.raises(HTTPException, match="shutting down") as told:
                await coming
            assert told.value.status_code == 503
        inside.tokens = 0
        await come(inside.door, HELD)

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
