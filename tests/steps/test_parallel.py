"""Work in parallel: results keep their order, errors arrive, and no process is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from rewardlab.cores import num_cores
from steps.common.parallel import in_order

several = pytest.mark.skipif(num_cores() == 1, reason="one core: there are no processes")


def double(chunk: range) -> tuple[list[int], int]:
    time.sleep(0.02 * (chunk[0] % 3 == 0))  # some take longer than those behind them
    return [2 * number for number in chunk], os.getpid()


def fail(chunk: range) -> int:
    if chunk[0] == 6:
        raise ValueError(f"cannot do {chunk[0]}")
    return chunk[0]


def die(chunk: range) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def chunks(num: int) -> list[range]:
    return [range(at, at + 2) for at in range(0, 2 * num, 2)]


@pytest.mark.parametrize("num", [0, 1, 4, 30])
def test_results_come_in_order_with_their_chunks(num: int) -> None:
    found = list(in_order(double, chunks(num), label="test"))
    assert [chunk for chunk, _ in found] == chunks(num)
    assert [numbers for _, (numbers, _) in found] == [[2 * each for each in chunk] for chunk in chunks(num)]


@several
def test_few_chunks_stay_here_and_many_go_elsewhere() -> None:
    here = [{process for _, (_, process) in in_order(double, chunks(num), label="test")} for num in (3, 30)]
    assert here[0] == {os.getpid()}
    assert os.getpid() not in here[1]


@pytest.mark.parametrize("num", [4, 30])
def test_the_first_error_arrives_behind_what_went_well(num: int) -> None:
    results = in_order(fail, chunks(num), label="test")
    assert [next(results)[0] for _ in range(3)] == chunks(3)
    with pytest.raises(ValueError, match="cannot do 6"):
        next(results)
    assert not multiprocessing.active_children()


@several
def test_a_process_that_is_killed_is_an_error() -> None:
    with pytest.raises(BrokenProcessPool):
        list(in_order(die, chunks(30), label="test"))


@several
def test_chunks_are_read_no_faster_than_they_are_worked_on() -> None:
    read = []
    source = (read.append(chunk) or chunk for chunk in chunks(200))
    results = in_order(double, source, label="test")
    next(results)
    results.close()
    assert len(read) <= 2 * num_cores() + 5


@several
def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import os, signal; from tests.steps.test_parallel import *\n"
        "if __name__ == '__main__':\n"
        "    results = in_order(double, chunks(30), label='test')\n"
        "    print(next(results)[1][1], flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(tmp_path / "parent.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while Path(f"/proc/{int(done.stdout)}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
