"""Threads are as many as the cores that a process may use, not as those that the machine has."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardlab.bundle import Bundle
from rewardlab.cores import num_cores
from rewardlab.engine import Engine
from serving.__main__ import _parser, _scorer


@pytest.fixture
def one_core() -> Iterator[None]:
    """Hold this thread to one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", 8), ("800000 100000", 8), ("170000 100000", 2), ("20000 100000", 1)]
)
def test_a_containers_limit_holds(limit: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(f"{limit}\n", encoding="ascii")
    monkeypatch.setattr("rewardlab.cores.CPU_LIMIT", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert num_cores() == cores


@pytest.mark.usefixtures("one_core")
def test_affinity_holds_for_the_engine_and_the_server(tiny_bundle: Path) -> None:
    engine = Engine(Bundle.open(tiny_bundle))
    scorer = _scorer(_parser().parse_args(["--bundle", str(tiny_bundle)]))
    assert num_cores() == 1
    assert engine._session._session.get_session_options().intra_op_num_threads == 1
    assert len(scorer.loop._threads) == 1
