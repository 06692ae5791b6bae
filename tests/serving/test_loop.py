"""What waits for the engine and how it is scored: batches, shared work, failures that stay alone."""

import asyncio
import gc
import random
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.config import ModelConfig
from models.reward_model import build_model
from rewardlab.bundle import MANIFEST, MODEL, Bundle, seal
from rewardlab.engine import Engine, Scores
from rewardlab.files import read_json
from rewardlab.groups import messages
from rewardlab.tokens import TokenTree
from serving.limits import Limits
from serving.loaded_model import Group, LoadedModel, LoadOptions
from serving.protocols import native, verl
from serving.queue import TOKEN_BUDGET, Leaf, Queue, price, trees
from serving.scorer import Scorer
from steps.export.graph import write_whole


class Watched(Engine):
    """An engine that counts what it scores, can be stopped for a while, and fails on what holds certain ids."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, threads=1)
        self.batches: list[list[TokenTree]] = []
        self.free = threading.Event()
        self.free.set()
        self.poison: dict[tuple[int, ...], Exception] = {}

    def score_trees(self, trees: Sequence[TokenTree], **options: Any) -> list[Scores]:
        self.free.wait(30)
        self.batches.append(list(trees))
        for tree in trees:
            for ids in tree.responses:
                if ids in self.poison:
                    raise self.poison[ids]
        return super().score_trees(trees, **options)


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Watched:
    return Watched(Bundle.open(tiny_bundle))


@pytest.fixture
def model(engine: Watched) -> Iterator[LoadedModel]:
    engine.batches.clear()
    engine.poison.clear()
    yield LoadedModel.of(engine, name="small", version="1")
    engine.free.set()


async def ready(model: LoadedModel, limits: Limits | None = None) -> Scorer:
    scorer = Scorer(model, limits or Limits(), threads=2)
    await scorer.start()
    assert scorer.not_ready is None
    model.engine.batches.clear()  # type: ignore[attr-defined]
    return scorer


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def occupied(scorer: Scorer, engine: Watched) -> list[asyncio.Task[Any]]:
    """Stop the engine with a batch in each of its threads."""
    engine.free.clear()
    tasks = []
    for count in (1, 2):
        tasks.append(asyncio.create_task(scorer.score([group(f"busy {count}", "a")], verl.PROTOCOL.policy)))
        await until(lambda count=count: len(scorer.loop._running) == count)  # type: ignore[misc]
    return tasks


def waiting(scorer: Scorer) -> int:
    """Return how many answers are waited for."""
    return sum(len(leaf.waiting) for leaf in scorer.loop._flight.values())


def leaf(model: LoadedModel, prompt: int, response: int, *, length: int = 10) -> Leaf:
    return Leaf(model, (prompt,) * length, (response,) * length)


def group(prompt: str, *responses: str) -> Group:
    return Group(messages(prompt), responses)


def test_a_batch_begins_with_the_oldest_prompt_and_holds_its_responses_together(model: LoadedModel) -> None:
    queue = Queue()
    leaves = [leaf(model, prompt, response) for response in range(3) for prompt in (7, 8, 9)]
    for each in leaves:
        queue.add(each)
    batch = queue.take()
    assert [each.prompt[0] for each in batch] == [7, 7, 7, 8, 8, 8, 9, 9, 9]
    assert price(batch) == 3 * 10 + 9 * 10
    assert not queue
    assert queue.tokens == 0


def test_where_the_graph_reads_whole_sequences_each_row_costs_its_prompt(
    tiny_bundle: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    write_whole(build_model(ModelConfig(backbone="tiny"), tiny_folder).eval(), folder / MODEL, has_aspects=False)
    facts = read_json(folder / MANIFEST)
    (folder / MANIFEST).unlink()
    seal(folder, facts)
    shared, whole = (
        LoadedModel.of(Engine(Bundle.open(each), threads=1), name="a", version="1") for each in (tiny_bundle, folder)
    )
    costs = [price([Leaf(each, (1,) * 30, (2,) * length) for length in (8, 9)]) for each in (shared, whole)]
    assert costs == [30 + 8 + 9, 2 * 30 + 8 + 9]
    assert len(whole.engine.score("Hi", ["a", "b"])) == 2
    assert (whole.engine.num_prompt_hits, whole.engine.num_prompt_misses) == (0, 0)


def test_no_batch_mixes_lengths_exceeds_its_budget_or_leaves_anything_behind(model: LoadedModel) -> None:
    random.seed(0)
    queue, given = Queue(), []
    for prompt in range(200):
        length = random.randrange(1, 900)
        given += [leaf(model, prompt, response, length=length) for response in range(random.randrange(1, 5))]
    for each in random.sample(given, len(given)):
        queue.add(each)
    taken: list[Leaf] = []
    while queue:
        batch = queue.take()
        taken += batch
        assert price(batch) <= TOKEN_BUDGET or len(batch) == 1
        assert max(each.length for each in batch) - min(each.length for each in batch) <= 2 * max(
            1, int(0.05 * batch[0].length)
        )
    assert sorted(map(id, taken)) == sorted(map(id, given))
    assert queue.tokens == 0


def test_models_never_share_a_batch(model: LoadedModel, engine: Watched) -> None:
    other, queue = LoadedModel.of(engine, name="small", version="2"), Queue()
    for each in (model, other, model, other):
        queue.add(leaf(each, 1, random.randrange(10**6)))
    assert [{each.model.version for each in queue.take()} for _ in range(2)] == [{"1"}, {"2"}]


def test_a_batch_is_one_tree_a_prompt(model: LoadedModel) -> None:
    batch = [leaf(model, 1, 5), leaf(model, 2, 6), leaf(model, 1, 7)]
    assert [(tree.prompt[0], len(tree.responses), leaves) for tree, leaves in trees(batch)] == [
        (1, 2, [batch[0], batch[2]]),
        (2, 1, [batch[1]]),
    ]


def test_single_candidates_of_one_prompt_meet_in_one_tree(model: LoadedModel, engine: Watched) -> None:
    async def work() -> list[float | None]:
        scorer = await ready(model)
        busy = await occupied(scorer, engine)
        one_by_one = [asyncio.create_task(scorer.score([group("Hi", f"{n}")], verl.PROTOCOL.policy)) for n in range(8)]
        await until(lambda: waiting(scorer) == 10)
        engine.free.set()
        scored = await asyncio.gather(*one_by_one)
        await asyncio.gather(*busy)
        scorer.stop()
        return [each.rewards[0] for (each,) in scored]

    rewards = asyncio.run(work())
    assert sorted(len(tree.responses) for batch in engine.batches for tree in batch) == [1, 1, 8]
    assert rewards == list(engine.score("Hi", [f"{n}" for n in range(8)]))


def test_identical_work_in_flight_is_computed_once(model: LoadedModel, engine: Watched) -> None:
    async def work() -> list[Any]:
        scorer = await ready(model)
        engine.free.clear()
        asked = [
            asyncio.create_task(scorer.score([group("Hi", "same", "same")], verl.PROTOCOL.policy)) for _ in range(5)
        ]
        await until(lambda: waiting(scorer) == 10)
        engine.free.set()
        scored = await asyncio.gather(*asked)
        scorer.stop()
        return [each.rewards for (each,) in scored]

    rewards = asyncio.run(work())
    assert len({reward for each in rewards for reward in each}) == 1
    assert sum(len(tree.responses) for batch in engine.batches for tree in batch) == 1


@pytest.mark.parametrize("error", [ArithmeticError("NaN"), RuntimeError("the kernel failed"), MemoryError()])
def test_a_poisonous_response_fails_alone(model: LoadedModel, engine: Watched, error: Exception) -> None:
    async def work() -> Any:
        scorer = await ready(model)
        engine.poison = {model.tokenize(group("Hi", "bad 17"))[0].responses[0]: error}
        groups = [group("Hi", *(f"{'bad' if n == 17 else 'good'} {n}" for n in range(32))), group("Ho", "good")]
        scored = await scorer.score(groups, native.PROTOCOL.policy)
        again = await scorer.score([group("Hi", "good")], native.PROTOCOL.policy)
        assert scorer.not_ready is None
        assert b'rewardlab_failed_responses_total{kind="error"}' in scorer.measured()
        scorer.stop()
        return [*scored, *again]

    first, second, third = asyncio.run(work())
    assert list(first.errors) == [17]
    assert [index for index, reward in enumerate(first.rewards) if reward is None] == [17]
    assert not second.errors
    assert not third.errors


def test_work_that_nobody_waits_for_is_not_computed(model: LoadedModel, engine: Watched) -> None:
    async def work() -> None:
        scorer = await ready(model)
        busy = await occupied(scorer, engine)
        left, stays = (
            asyncio.create_task(scorer.score([group("Hi", *"abc"[:n])], verl.PROTOCOL.policy)) for n in (3, 1)
        )
        await until(lambda: waiting(scorer) == 6)
        left.cancel()
        await asyncio.sleep(0)
        engine.free.set()
        (scored,) = await stays
        await asyncio.gather(*busy)
        assert scored.rewards == engine.score("Hi", ["a"]).rewards
        assert scorer.loop.outstanding == 0
        scorer.stop()

    asyncio.run(work())
    assert [len(tree.responses) for batch in engine.batches for tree in batch if len(tree.responses) > 1] == []


def test_a_model_that_was_swapped_goes_without_a_search_for_cycles(model: LoadedModel, engine: Watched) -> None:
    async def work() -> bool:
        scorer = await ready(LoadedModel.of(engine, name="small", version="1"))
        before = weakref.ref(scorer.model)
        await scorer.score([group("Hi", "a", "b")], native.PROTOCOL.policy)
        scorer.swap(model)
        await scorer.score([group("Hi", "a", "b")], native.PROTOCOL.policy)
        scorer.stop()
        return before() is None

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(work())
    finally:
        gc.enable()


def test_a_model_that_reads_the_same_way_takes_over_the_tokenizers(
    model: LoadedModel, tiny_bundle: Path, other_bundle: Path
) -> None:
    same = LoadedModel.load(other_bundle, name="small", version="2", before=model, options=LoadOptions())
    assert same._tokenizers is model._tokenizers
    assert same.tokenize(group("Hi", "a")) == model.tokenize(group("Hi", "a"))
    shorter = replace(model.engine.bundle, readout=replace(model.engine.bundle.readout, prompt_limit=5))
    other = LoadedModel.of(Engine(shorter, threads=1), name="small", version="3", before=model)
    assert other._tokenizers is not model._tokenizers
    assert other.tokenize(group("Hi " * 9, "a"))[0].truncated == (True,)


def test_a_group_that_cannot_be_read_takes_no_other_with_it(model: LoadedModel) -> None:
    async def work() -> Any:
        scorer = await ready(model)
        bad = group("a", "b", "\ud800")
        scored = await scorer.score([group("Hi", "a"), bad, group("Ho")], native.PROTOCOL.policy)
        scorer.stop()
        return scored

    good, bad, empty = asyncio.run(work())
    assert (len(good.rewards), good.errors) == (1, {})
    assert bad.rewards == (None, None)
    assert "surrogate" in str(bad.errors[1])
    assert empty.rewards == ()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_whose_thread_is_gone_is_neither_alive_nor_ready(model: LoadedModel, engine: Watched) -> None:
    async def work() -> tuple[str | None, str | None]:
        scorer = await ready(model)
        engine.poison = {model.tokenize(group("Hi", "bad"))[0].responses[0]: SystemExit()}  # type: ignore[dict-item]
        asked = asyncio.create_task(scorer.score([group("Hi", "bad")], native.PROTOCOL.policy))
        while not scorer.loop.dead:
            await asyncio.sleep(0.01)
        asked.cancel()
        told = scorer.loop.dead, scorer.not_ready
        scorer.stop()
        return told

    assert asyncio.run(work()) == ("a thread of the engine has ended",) * 2
