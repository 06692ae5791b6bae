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


@dataclass
class Kubeflow:
    """What lies on the server, and every change that was asked for, in order."""

    token: str = ""
    address: str = ""
    pipelines: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    experiments: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    recurring: dict[str, dict[str, Any]] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    fail_on: str = ""
    ids: Iterator[int] = field(default_factory=count)


@contextmanager
def running(token: str = "", port: int = 0) -> Iterator[Kubeflow]:
    """Give a server that wants a token, if any."""
    state = Kubeflow(token=token)
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
        if self.state.token and self.headers["Authorization"] != f"Bearer {self.state.token}":
            return self._send(401, {"error": "Unauthenticated"})
        try:
            found = work(url.path.removeprefix(API), query)
        except (KeyError, ValueError, json_format.ParseError) as error:
            return self._send(400, {"error": repr(error)})
        return self._send(404 if found is None else 200, {"error": "not found"} if found is None else found)

    def _send(self, status: int, values: Any) -> None:
        body = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _get(self, path: str, query: dict[str, str]) -> Any:
        state = self.state
        if path == "/healthz":
            return {"multi_user": False}
        if path == "/pipelines":
            return {"pipelines": _named(state.pipelines, query)}
        if path == "/experiments":
            return {"experiments": _named(state.experiments, query)}
        if path.startswith("/pipelines/") and path.endswith("/versions"):
            owner = path.split("/")[2]
            return _page("pipeline_versions", [v for v in state.versions.values() if v["pipeline_id"] == owner], query)
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
            documents = _uploaded(self.headers, body)
            json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
            owner = query.get("pipelineid") or new
            if not query.get("pipelineid"):
                state.pipelines[new] = {"pipeline_id": new, "display_name": query["name"]}
                new = f"id-{next(state.ids)}"
            spec = {"pipeline_spec": documents[0], "platform_spec": documents[1]} if documents[1:] else documents[0]
            version = {"pipeline_id": owner, "pipeline_version_id": new, "display_name": query["name"]}
            state.versions[new] = version | {"pipeline_spec": spec}
            return state.versions[new] if query.get("pipelineid") else state.pipelines[owner]
        values = json.loads(body)
        if path == "/experiments":
            return state.experiments.setdefault(new, {**values, "experiment_id": new})
        if path in ("/runs", "/recurringruns"):
            reference = values["pipeline_version_reference"]
            spec = state.versions[reference["pipeline_version_id"]]["pipeline_spec"]
            wanted = spec.get("pipeline_spec", spec)["root"]["inputDefinitions"]["parameters"]
            if set(values["runtime_config"]["parameters"]) != set(wanted):
                raise ValueError(f"parameters are {sorted(wanted)}")
            assert values["experiment_id"] in state.experiments
            if path == "/runs":
                return state.runs.setdefault(new, {**values, "run_id": new})
            status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[values["mode"]]
            return state.recurring.setdefault(new, {**values, "recurring_run_id": new, "status": status})
        return None

    def _delete(self, path: str, _query: dict[str, str]) -> Any:
        self.state.changes.append(f"DELETE {path}")
        return {} if self.state.recurring.pop(path.rpartition("/")[2], None) else None


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
