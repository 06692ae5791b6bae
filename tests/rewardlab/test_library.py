"""What the library refuses and how it says so: files it cannot read, servers that answer oddly, names it lacks."""

import asyncio
import gzip
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import rewardlab
from rewardlab.config import Config
from rewardlab.files import atomic_path, read_json
from rewardlab.groups import Comparison, PreferenceGroup, messages
from rewardlab.home import home, training_state
from rewardlab.metrics import PairTable, reliability
from rewardlab.readers import read
from rewardlab.readers.reader import by_rating
from rewardlab.readout import ReadOut
from rewardlab.references import resolve
from steps.registry.client import connect

ROW = b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n'
NO_PAIRS = PairTable(*(np.zeros(0) for _ in range(3)), np.zeros(0, dtype=np.int64))


def test_the_package_lists_its_names_and_has_no_others() -> None:
    assert dir(rewardlab) == sorted(rewardlab.__all__)
    assert rewardlab.__getattr__("metrics") is rewardlab.metrics
    with pytest.raises(AttributeError, match="module 'rewardlab' has no attribute 'nothing'"):
        _ = rewardlab.nothing


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.jsonl", b"\xef\xbb\xbf" + ROW + b"\n"),
        ("x.json", b"[" + ROW + b"]"),
        ("x.json", ROW),
        ("x.csv", b"prompt,chosen,rejected\na,b,c\n"),
        ("x.csv.gz", gzip.compress(b"\xef\xbb\xbfprompt,chosen,rejected,source\na,b,c,\n", mtime=0)),
    ],
)
def test_every_kind_of_text_file_is_read(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    (group,) = rewardlab.read(tmp_path / name)
    assert (group.prompt[0].content, group.responses) == ("a", ("b", "c"))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.txt", ROW, r"the name ends in none of \.jsonl"),
        ("x.jsonl", b"", "is empty"),
        ("x.jsonl", ROW + b"{\n", "line 2: invalid JSON"),
        ("x.jsonl", ROW + b"3\n", "line 2: a row is a JSON object, got int"),
        ("x.jsonl", b'{"prompt": "\xe9"}\n', "is not UTF-8 behind line 0"),
        ("x.jsonl.gz", gzip.compress(ROW * 100, mtime=0)[:-20], "is cut short"),
        ("x.jsonl.gz", gzip.compress(ROW, mtime=0)[:-8] + b"\0" * 8, "is damaged"),
        ("x.json", b"[1, 2", "is not a JSON array"),
        ("x.csv", b'prompt,chosen,rejected\n"a" b,c,d\n', "is not a CSV table behind line"),
        ("x.csv", b"prompt,chosen,rejected\na,b,c\na,b,c,d\n", "line 3: not 3 cells"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=rf"{name}:? .*{message}"):
        rewardlab.read(tmp_path / name)


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """Give the address of a server that sends these bytes, one after the other; an empty one hangs up."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.wfile.write(left.pop(0))

        def log_message(self, *_: object) -> None:
            pass

    left = list(answers)
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=lambda: [server.handle_request() for _ in answers])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        thread.join()


def ok(body: bytes) -> bytes:
    return b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "is not a rewardlab server: '<html>'"),
        (b'{"scores": [1.0]}', "is not a rewardlab server"),
        (b'{"rewards": [1.0, 2.0]}', "not one finite reward for each"),
        (b'{"rewards": [NaN]}', "not one finite reward for each"),
    ],
)
def test_an_answer_that_is_no_rewards_is_refused(body: bytes, message: str) -> None:
    with (
        answering(ok(body)) as url,
        rewardlab.RemoteReward(url) as remote,
        pytest.raises(RuntimeError, match=message),
    ):
        remote.score("a", ["b"])


def test_a_server_that_hangs_up_or_names_a_date_is_asked_again() -> None:
    busy = b"HTTP/1.0 503 Busy\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n\r\nbusy"
    with answering(b"", busy, ok(b'{"rewards": [1.5]}')) as url, rewardlab.RemoteReward(url) as remote:
        assert remote.score("a", ["b"]) == [1.5]


def test_the_awaited_client_asks_again_where_a_server_hangs_up() -> None:
    async def work(url: str) -> list[float]:
        async with rewardlab.AsyncRemoteReward(url) as remote:
            return await remote.score("a", ["b"])

    with answering(b"", ok(b'{"rewards": [1.5]}')) as url:
        assert asyncio.run(work(url)) == [1.5]


def test_a_training_s_state_is_its_own() -> None:
    places = {training_state(settings, digest) for settings in ("a", "b") for digest in ("c", "d")}
    assert len(places) == 4
    assert {place.parent for place in places} == {home() / "training"}


def test_a_server_that_is_silent_is_given_up_in_time() -> None:
    class Silent(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            done.wait(10)

    done = threading.Event()
    with http.server.HTTPServer(("127.0.0.1", 0), Silent) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        with rewardlab.RemoteReward(url, timeout=0.2) as remote, pytest.raises(ConnectionError, match="no answer in"):
            remote.score("a", ["b"])
        done.set()
        thread.join()


def test_records_refuse_what_cannot_be() -> None:
    turns = messages("a")
    with pytest.raises(ValueError, match="margin is finite, got inf"):
        Comparison(better=0, worse=1, margin=float("inf"))
    with pytest.raises(ValueError, match="the prompt is empty"):
        PreferenceGroup(id="", prompt=(), responses=("a",))
    with pytest.raises(ValueError, match="holds a rating that is not finite"):
        PreferenceGroup(id="", prompt=turns, responses=("a",), scores={"gold": (float("nan"),)})
    with pytest.raises(ValueError, match="responses is a list of strings"):
        PreferenceGroup.from_dict({"id": "", "prompt": "a", "responses": "b"})
    with pytest.raises(ValueError, match="is read from a JSON object"):
        Config.from_json("[]")
    with pytest.raises(ValueError, match="at most 256 responses can be compared pair by pair, got 257"):
        by_rating([0.0] * 257)


def test_nothing_to_measure_is_none_and_few_outcomes_have_an_interval() -> None:
    assert rewardlab.metrics.accuracy(NO_PAIRS) is None
    assert list(read([])) == []
    assert reliability(NO_PAIRS, 1.0) is None
    assert rewardlab.metrics.share(np.array([1.0, 0.0, 1.0]), np.array([0, 0, 1])).num == 3
    estimate = rewardlab.metrics.Estimate(value=0.5, low=0.4, high=0.6, num=10)
    assert estimate.to_dict() == {"value": 0.5, "low": 0.4, "high": 0.6, "num": 10}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"end": []}, "no end-of-turn token to score"),
        ({"pad_id": 2}, "pad and end of turn are the same token"),
        ({"prompt_limit": 0}, "limits are at least 1 token"),
        ({"template": "{{ bos_token }}{{ bos_token }}", "special_tokens": {"bos_token": "<s>"}}, "a second '<s>'"),
    ],
)
def test_a_read_out_that_would_score_another_token_is_refused(
    tiny_bundle: Path, changes: dict[str, object], message: str
) -> None:
    sealed = read_json(tiny_bundle / "readout.json")
    assert sealed["end"][0] == 2
    with pytest.raises(ValueError, match=message):
        ReadOut.from_dict({**sealed, **changes})


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        (".", "is a folder, but not a bundle"),
        ("no/such", "there is no folder no/such"),
        ("models:/a@b@c", "is no reference: give a folder"),
        ("champion", "there is no registry in .*: make one with `rewardlab run`"),
    ],
)
def test_a_reference_to_nothing_says_what_to_give(
    ref: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDLAB_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match=message):
        resolve(ref)


def test_a_registered_bundle_that_was_exchanged_is_refused(
    registry: Path, tiny_bundle: Path, other_bundle: Path
) -> None:
    client = connect()
    client.create_registered_model("m")
    digest = read_json(other_bundle / "manifest.json")["digest"]
    client.create_model_version("m", str(tiny_bundle), tags={"bundle": digest})
    with pytest.raises(ValueError, match=r"m/1 is not the bundle that was registered \("):
        resolve("models:/m/1")


def test_nothing_is_written_where_nothing_was_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing was made for"), atomic_path(tmp_path / "x"):
        pass
    assert list(tmp_path.iterdir()) == []
