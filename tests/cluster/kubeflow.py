"""Kubeflow Pipelines' API as the client sees it: keeps what it is sent, and refuses what the real one refuses."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlparse

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

API = "/apis/v2beta1"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_CRON = ((0, 59, ()), (0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (0, 6, _DAYS))
"""Lowest and highest number of each field, and the names from the lowest on."""


@dataclass
class Kubeflow:
    """What lies on the server, and every change that was asked for, in order."""

    token: str = ""
    multi_user: bool = False
    address: str = ""
    pipelines: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    experiments: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    recurring: dict[str, dict[str, Any]] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    fail_on: str = ""
    ends: str = "SUCCEEDED"
    ids: Iterator[int] = field(default_factory=count)


@contextmanager
def running(token: str = "", port: int = 0, *, multi_user: bool = False) -> Iterator[Kubeflow]:
    """Give a server that wants a token, if any; one of many users wants it where a namespace is concerned alone."""
    state = Kubeflow(token=token, multi_user=multi_user)
    server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Handler,), {"state": state}))
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: Kubeflow

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, work: Any) -> None:
        url = urlparse(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if self._is_unknown(url.path.removeprefix(API), query):
            return self._send(401, {"error": "Unauthenticated: there is no user identity header"})
        try:
            found = work(url.path.removeprefix(API), query)
        except (KeyError, ValueError, json_format.ParseError) as error:
            return self._send(400, {"error": repr(error)})
        return self._send(404 if found is None else 200, {"error": "not found"} if found is None else found)

    def _is_unknown(self, path: str, query: dict[str, str]) -> bool:
        """Say whether a call needs a token, and has not the right one."""
        shared = path == "/healthz" or (path.startswith("/pipelines") and "namespace" not in query)
        needed = self.state.token and not (self.state.multi_user and shared)
        return bool(needed) and self.headers["Authorization"] != f"Bearer {self.state.token}"

    def _send(self, status: int, values: Any) -> None:
        body = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _get(self, path: str, query: dict[str, str]) -> Any:  # noqa: PLR0911 (one a call)
        state = self.state
        if path == "/healthz":
            return {"multi_user": state.multi_user}
        if path == "/pipelines":
            own = {
                key: each for key, each in state.pipelines.items() if each["namespace"] == query.get("namespace", "")
            }
            return {"pipelines": _named(own, query)}
        if path == "/experiments":
            return {"experiments": _named(state.experiments, query)}
        if path.startswith("/pipelines/") and path.endswith("/versions"):
            owner = path.split("/")[2]
            return _page("pipeline_versions", [v for v in state.versions.values() if v["pipeline_id"] == owner], query)
        if path.startswith("/runs/"):
            return state.runs.get(path.rpartition("/")[2])
        if path == "/recurringruns":
            found = [each for each in state.recurring.values() if each["experiment_id"] == query["experiment_id"]]
            return _page("recurringRuns", found, query)
        return None

    def _post(self, path: str, query: dict[str, str]) -> Any:
        state, body = self.state, self.rfile.read(int(self.headers["Content-Length"]))
        state.changes.append(f"POST {path}")
        if state.fail_on and path.startswith(state.fail_on):
            raise ValueError("told to fail")
        new = f"id-{next(state.ids)}"
        if path in ("/pipelines/upload", "/pipelines/upload_version"):
            documents = _kept(_uploaded(self.headers, body))
            owner = query.get("pipelineid") or new
            if not query.get("pipelineid"):
                pipeline = {"pipeline_id": new, "display_name": query["name"], "namespace": query.get("namespace", "")}
                state.pipelines[new] = pipeline
                new = f"id-{next(state.ids)}"
            spec = {"pipeline_spec": documents[0], "platform_spec": documents[1]} if documents[1:] else documents[0]
            version = {"pipeline_id": owner, "pipeline_version_id": new, "display_name": query["name"]}
            state.versions[new] = version | {"pipeline_spec": spec}
            return state.versions[new] if query.get("pipelineid") else state.pipelines[owner]
        values = json.loads(body)
        if path == "/experiments":
            return state.experiments.setdefault(new, {**values, "experiment_id": new})
        if path in ("/runs", "/recurringruns"):
            if reference := values.get("pipeline_version_reference"):
                spec = state.versions[reference["pipeline_version_id"]]["pipeline_spec"]
            else:
                spec = values["pipeline_spec"]
            wanted = spec.get("pipeline_spec", spec)["root"]["inputDefinitions"]["parameters"]
            if set(values["runtime_config"]["parameters"]) != set(wanted):
                raise ValueError(f"parameters are {sorted(wanted)}")
            assert values["experiment_id"] in state.experiments
            if "trigger" in values:
                check_cron(values["trigger"]["cron_schedule"]["cron"])
            if path == "/runs":
                return state.runs.setdefault(new, {**values, "run_id": new, "state": state.ends})
            status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[values["mode"]]
            return state.recurring.setdefault(new, {**values, "recurring_run_id": new, "status": status})
        return None

    def _delete(self, path: str, _query: dict[str, str]) -> Any:
        self.state.changes.append(f"DELETE {path}")
        return {} if self.state.recurring.pop(path.rpartition("/")[2], None) else None


def _kept(documents: list[Any]) -> list[Any]:
    """Return a compiled pipeline as the server keeps it: through protobuf, and in the JSON that Go writes of it."""
    types = (pipeline_spec_pb2.PipelineSpec, pipeline_spec_pb2.PlatformSpec)
    messages = [json_format.ParseDict(each, kind()) for each, kind in zip(documents, types, strict=False)]
    return [_in_go(json_format.MessageToDict(each)) for each in messages]


def _in_go(value: Any) -> Any:
    """Return JSON values as Go writes them: a double without a fraction is written as an integer."""
    if isinstance(value, dict):
        return {key: _in_go(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_in_go(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def check_cron(expression: str) -> None:
    """Refuse what robfig/cron, with which the server reads a schedule, cannot parse.

    Raises:
        ValueError: it is no expression of six fields.
    """
    fields = expression.split()
    if len(fields) != len(_CRON):
        raise ValueError(f"expected exactly 6 fields, found {len(fields)}: {expression}")
    for text, (low, high, names) in zip(fields, _CRON, strict=True):
        for part in text.split(","):
            _check_range(part, low, high, names)


def _check_range(part: str, low: int, high: int, names: tuple[str, ...]) -> None:
    where, slash, step = part.partition("/")
    if slash and not (step.isdecimal() and int(step) > 0):
        raise ValueError(f"step of range should be a positive number: {part}")
    if where in ("*", "?"):
        return
    ends = [low + names.index(each.lower()) if each.lower() in names else int(each) for each in where.split("-")]
    if len(ends) > 2 or not low <= ends[0] <= ends[-1] <= high:
        raise ValueError(f"beginning or end of range is out of bounds: {part}")


def _named(found: dict[str, dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    predicates = json.loads(query["filter"])["predicates"]
    name = next(each["stringValue"] if "stringValue" in each else each["string_value"] for each in predicates)
    return [each for each in found.values() if each["display_name"] == name]


def _page(key: str, found: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    """Return one item a page, so that a client that reads the first page alone is caught."""
    at = int(query.get("page_token") or 0)
    return {key: found[at : at + 1], **({"next_page_token": str(at + 1)} if at + 1 < len(found) else {})}


def _uploaded(headers: Message, body: bytes) -> list[Any]:
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    (part,) = BytesParser().parsebytes(head + body).get_payload()
    assert isinstance(part, Message)
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return list(yaml.safe_load_all(payload))
