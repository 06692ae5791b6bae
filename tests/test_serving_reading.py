"""Tokenizers' threads: short texts share a turn, a long one has its own, and a failure is its request's alone."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from rewardlab.groups import Message
from serving.reading import TURN_BYTES, Readers
from serving.served import Group, Item, Served


class Slow:
    """A model in service whose reading waits until it may go on, and that remembers what it has read."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.begun = threading.Semaphore(0)
        self.read_by: list[tuple[str, int]] = []

    def read(self, item: Item) -> str:
        assert isinstance(item, Group)
        (response,) = item.responses
        self.read_by.append((response, threading.get_ident()))
        self.begun.release()
        assert self.may.wait(10)
        if response == "wrong":
            raise ValueError("cannot be read")
        if response == "broken":
            raise RuntimeError("the tokenizer failed")
        return response


def item(response: str) -> Group:
    return Group((Message("user", ""),), [response])


@contextmanager
def reading(turns: list[float]) -> Iterator[tuple[Readers, Served, Slow]]:
    """Yield readers both of whose threads are at a text, so that what comes next waits."""
    readers, slow = Readers(turns.append), Slow()
    served = cast(Served, slow)
    readers.start()
    try:
        yield readers, served, slow
    finally:
        slow.may.set()
        readers.stop()


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 30))


async def both_busy(readers: Readers, served: Served, slow: Slow) -> list["asyncio.Future[Any]"]:
    found = []
    for number in range(2):
        found.append(readers.read(served, [item(f"first {number}")], TURN_BYTES))
        await asyncio.to_thread(slow.begun.acquire)
    return found


def test_short_texts_share_a_turn_and_each_gets_its_own() -> None:
    async def work() -> None:
        turns: list[float] = []
        with reading(turns) as (readers, served, slow):
            found = await both_busy(readers, served, slow)
            found += [readers.read(served, [item(f"short {n}")], 10) for n in range(5)]
            await asyncio.sleep(0.05)
            slow.may.set()
            assert [each[0] for each in await asyncio.gather(*found)] == [
                *("first 0", "first 1"),
                *(f"short {n}" for n in range(5)),
            ]
            assert len({thread for text, thread in slow.read_by if text.startswith("short")}) == 1
            assert len(turns) == 3

    run(work)


def test_a_long_text_keeps_no_short_one_waiting_behind_it() -> None:
    async def work() -> None:
        turns: list[float] = []
        with reading(turns) as (readers, served, slow):
            found = await both_busy(readers, served, slow)
            found += [readers.read(served, [item(name)], size) for name, size in (("long", TURN_BYTES), ("short", 10))]
            await asyncio.sleep(0.05)
            slow.may.set()
            await asyncio.gather(*found)
            assert len(turns) == 4

    run(work)


def test_what_nobody_waits_for_is_not_read() -> None:
    async def work() -> None:
        with reading([]) as (readers, served, slow):
            found = await both_busy(readers, served, slow)
            left, stays = (readers.read(served, [item(name)], 10) for name in ("left", "stays"))
            await asyncio.sleep(0.05)
            left.cancel()
            slow.may.set()
            await asyncio.gather(*found, stays)
            assert "left" not in [text for text, _ in slow.read_by]

    run(work)


def test_a_failure_is_its_requests_alone() -> None:
    async def work() -> None:
        with reading([]) as (readers, served, slow):
            slow.may.set()
            wrong, broken, good = (
                readers.read(served, [item(name), item("beside")], 10) for name in ("wrong", "broken", "good")
            )
            assert [str(each) for each in await wrong] == ["cannot be read", "beside"]
            with pytest.raises(RuntimeError, match="tokenizer failed"):
                await broken
            assert await good == ["good", "beside"]

    run(work)


def test_who_still_waits_at_the_end_is_let_go() -> None:
    async def work() -> None:
        readers, slow = Readers([].append), Slow()
        readers.start()
        found = await both_busy(readers, cast(Served, slow), slow)
        late = readers.read(cast(Served, slow), [item("late")], 10)
        slow.may.set()
        readers.stop()
        assert late.cancelled()
        await asyncio.gather(*found)

    run(work)
