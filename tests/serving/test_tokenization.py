"""Tokenizer threads: short texts share a batch, a long one is its own, and a failure is its request's alone."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from rewardlab.groups import Message
from serving.loaded_model import Group, Item, LoadedModel
from serving.tokenization import BATCH_BYTES, TokenizerThreads


class Slow:
    """A model in service whose tokenizing waits until it may go on, and that remembers what it has read."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.begun = threading.Semaphore(0)
        self.read_by: list[tuple[str, int]] = []

    def tokenize(self, item: Item) -> str:
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
def tokenizing(batches: list[float]) -> Iterator[tuple[TokenizerThreads, LoadedModel, Slow]]:
    """Yield threads both of whose threads are at a text, so that what comes next waits."""
    threads, slow = TokenizerThreads(batches.append), Slow()
    model = cast(LoadedModel, slow)
    threads.start()
    try:
        yield threads, model, slow
    finally:
        slow.may.set()
        threads.stop()


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 30))


async def both_busy(threads: TokenizerThreads, model: LoadedModel, slow: Slow) -> list["asyncio.Future[Any]"]:
    futures = []
    for number in range(2):
        futures.append(threads.tokenize(model, [item(f"first {number}")], BATCH_BYTES))
        await asyncio.to_thread(slow.begun.acquire)
    return futures


def test_short_texts_share_a_batch_and_each_gets_its_own() -> None:
    async def work() -> None:
        batches: list[float] = []
        with tokenizing(batches) as (threads, model, slow):
            futures = await both_busy(threads, model, slow)
            futures += [threads.tokenize(model, [item(f"short {n}")], 10) for n in range(5)]
            await asyncio.sleep(0.05)
            slow.may.set()
            assert [results[0] for results in await asyncio.gather(*futures)] == [
                *("first 0", "first 1"),
                *(f"short {n}" for n in range(5)),
            ]
            assert len({thread for text, thread in slow.read_by if text.startswith("short")}) == 1
            assert len(batches) == 3

    run(work)


def test_a_long_text_keeps_no_short_one_waiting_behind_it() -> None:
    async def work() -> None:
        batches: list[float] = []
        with tokenizing(batches) as (threads, model, slow):
            futures = await both_busy(threads, model, slow)
            futures += [
                threads.tokenize(model, [item(name)], size) for name, size in (("long", BATCH_BYTES), ("short", 10))
            ]
            await asyncio.sleep(0.05)
            slow.may.set()
            await asyncio.gather(*futures)
            assert len(batches) == 4

    run(work)


def test_what_nobody_waits_for_is_not_tokenized() -> None:
    async def work() -> None:
        with tokenizing([]) as (threads, model, slow):
            futures = await both_busy(threads, model, slow)
            left, stays = (threads.tokenize(model, [item(name)], 10) for name in ("left", "stays"))
            await asyncio.sleep(0.05)
            left.cancel()
            slow.may.set()
            await asyncio.gather(*futures, stays)
            assert "left" not in [text for text, _ in slow.read_by]

    run(work)


def test_a_failure_is_its_requests_alone() -> None:
    async def work() -> None:
        with tokenizing([]) as (threads, model, slow):
            slow.may.set()
            wrong, broken, good = (
                threads.tokenize(model, [item(name), item("beside")], 10) for name in ("wrong", "broken", "good")
            )
            assert [str(result) for result in await wrong] == ["cannot be read", "beside"]
            with pytest.raises(RuntimeError, match="tokenizer failed"):
                await broken
            assert await good == ["good", "beside"]

    run(work)


def test_who_still_waits_at_the_end_is_let_go() -> None:
    async def work() -> None:
        threads, slow = TokenizerThreads([].append), Slow()
        threads.start()
        futures = await both_busy(threads, cast(LoadedModel, slow), slow)
        late = threads.tokenize(cast(LoadedModel, slow), [item("late")], 10)
        slow.may.set()
        threads.stop()
        assert late.cancelled()
        await asyncio.gather(*futures)

    run(work)
