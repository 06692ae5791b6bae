"""Prompts that were read are kept within their bytes and read once, whoever asks."""

import threading

import pytest

from rewardlab.engine.prompts import PromptCache


def test_the_least_recently_used_goes_first() -> None:
    cache: PromptCache[str] = PromptCache(6, len)
    for key, value in (((1,), "aa"), ((2,), "bb"), ((3,), "cc")):
        cache.get(key, lambda value=value: value)  # type: ignore[misc]
    cache.get((1,), pytest.fail)
    cache.get((4,), lambda: "dd")
    assert (cache.num_bytes, cache.num_hits, cache.num_misses) == (6, 1, 4)
    cache.get((1,), pytest.fail)
    assert cache.get((2,), lambda: "new") == "new"


def test_what_does_not_fit_is_read_and_not_kept() -> None:
    cache: PromptCache[str] = PromptCache(3, len)
    assert [cache.get((1,), lambda: "long") for _ in range(2)] == ["long", "long"]
    assert (cache.num_bytes, cache.num_misses) == (0, 2)


def test_threads_that_ask_at_once_read_once() -> None:
    cache: PromptCache[str] = PromptCache(100, len)
    start, calls, found = threading.Barrier(4), [], []

    def read() -> str:
        calls.append(1)
        start.wait(10)
        return "value"

    def ask() -> None:
        found.append(cache.get((1,), read))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    while not calls:
        pass
    for _ in range(3):
        threading.Thread(target=start.wait).start()
    for thread in threads:
        thread.join(10)
    assert (found, len(calls)) == (["value"] * 3, 1)


def test_a_reading_that_fails_is_tried_again() -> None:
    cache: PromptCache[str] = PromptCache(100, len)

    def fail() -> str:
        raise ArithmeticError("no")

    with pytest.raises(ArithmeticError, match="no"):
        cache.get((1,), fail)
    assert cache.get((1,), lambda: "value") == "value"
