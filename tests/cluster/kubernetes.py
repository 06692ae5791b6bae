"""Kubernetes with Kubeflow Trainer: keeps TrainJobs, refuses what the real one refuses, and runs pods as processes.

As a JobSet does, it starts all nodes again where one fails, so many times as the runtime says.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlparse

from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

NAMESPACE, TOKEN = "rewards", "mounted"
JOBS = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Pod:
    """One process on a node, and what it wrote, each line with its time."""

    name: str
    node: int
    process: "subprocess.Popen[str]"
    reader: Thread | None = None
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(f"{datetime.now(UTC).isoformat(timespec='microseconds')[:-6]}000Z {line}")

    def end(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def described(self, job: str) -> dict[str, Any]:
        code = self.process.poll()
        code = code if code is None or code >= 0 else 128 - code
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code, "reason": _why(code)}}
        labels = {"jobset.sigs.k8s.io/jobset-name": job, "batch.kubernetes.io/job-completion-index": str(self.node)}
        statuses = [{"name": "node", "state": state}]
        return {"metadata": {"name": self.name, "labels": labels}, "status": {"containerStatuses": statuses}}


@dataclass
class Kubernetes:
    """What stands on the cluster. `nodes` are commands that run another on a node; `instead` is what pods run."""

    nodes: Sequence[Sequence[str]] = ((), ())
    master: str = "127.0.0.1"
    instead: tuple[str, ...] = ()
    max_restarts: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: dict[str, list[Pod]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    failing: list[int] = field(default_factory=list)
    threads: list[Thread] = field(default_factory=list)
    stopping: dict[str, Event] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)
    starts: int = 0

    def create(self, body: dict[str, Any]) -> None:
        name = body["metadata"]["name"]
        self.jobs[name] = {**body, "status": {}}
        self.stopping[name] = Event()
        self.threads.append(Thread(target=self._run, args=(name,)))
        self.threads[-1].start()

    def delete(self, name: str) -> None:
        """Delete in the foreground: the job goes when its pods have gone."""
        self.jobs[name]["metadata"]["deletionTimestamp"] = "2026-11-25T00:00:00Z"
        self.stopping[name].set()

    def _run(self, name: str) -> None:
        codes = [1]
        for _ in range(1 + self.max_restarts):
            codes = self._try(name)
            if not any(codes) or self.stopping[name].is_set():
                break
        if self.stopping[name].is_set():
            del self.jobs[name]
            return
        outcome = {"type": "Failed" if any(codes) else "Complete", "status": "True", "reason": "JobsDone"}
        outcome |= {"message": "jobset failed"} if any(codes) else {}
        self.jobs[name]["status"] = {"conditions": [{"type": "Created", "status": "True"}, outcome]}
        self.stopping[name].wait()
        del self.jobs[name]

    def _try(self, name: str) -> list[int]:
        """Run all pods until each has ended; where one fails, or the job goes, the others are ended."""
        self.starts += 1
        pods = self.pods[name] = self._start(name)
        term = 0.0
        while any(pod.process.poll() is None for pod in pods):
            failed = any(pod.process.poll() not in (None, 0) for pod in pods)
            if (failed or self.stopping[name].is_set()) and not term:
                term = time.monotonic()
                for pod in pods:
                    pod.end(signal.SIGTERM)
            if term and time.monotonic() - term > 60:
                for pod in pods:
                    pod.end(signal.SIGKILL)
            time.sleep(0.02)
        for pod in pods:
            assert pod.reader
            assert pod.process.stdout
            pod.reader.join()
            pod.process.stdout.close()
        return [pod.process.returncode for pod in pods]

    def _start(self, name: str) -> list[Pod]:
        trainer = self.jobs[name]["spec"]["trainer"]
        with socket.create_server(("127.0.0.1", 0)) as probe:
            master = {"PET_MASTER_ADDR": self.master, "PET_MASTER_PORT": str(probe.getsockname()[1])}
        pods = []
        for node in range(trainer["numNodes"]):
            told = {"PET_NNODES": trainer["numNodes"], "PET_NPROC_PER_NODE": trainer["numProcPerNode"]}
            told |= {"PET_NODE_RANK": node}
            given = {each["name"]: each["value"] for each in trainer["env"] if "value" in each}
            path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
            known = {key: os.environ[key] for key in ("OMP_NUM_THREADS", "HF_HUB_OFFLINE", "HOME") if key in os.environ}
            env = {**known, **path, **master, **{key: str(value) for key, value in told.items()}, **given}
            command = [*self.nodes[node], *(self.instead or trainer["command"])]
            process = subprocess.Popen(
                command,
                env={**env, **self.environment},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            pod = Pod(f"{name}-node-0-{node}-{self.starts}", node, process)
            pod.reader = Thread(target=pod.read)
            pod.reader.start()
            pods.append(pod)
        return pods

    def end(self) -> None:
        for event in self.stopping.values():
            event.set()
        for pods in self.pods.values():
            for pod in pods:
                pod.end(signal.SIGKILL)
        for thread in self.threads:
            thread.join()


@contextmanager
def running(folder: Path, **how: Any) -> Iterator[Kubernetes]:
    """Give a cluster, and in a folder what a pod's service account has: token, namespace and certificate."""
    state = Kubernetes(**how)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    server.daemon_threads = True
    folder.mkdir()
    _write_certificate(folder / "ca.crt", folder / "key.pem")
    (folder / "token").write_text(TOKEN)
    (folder / "namespace").write_text(NAMESPACE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.crt", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    state.port = server.server_port
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        state.end()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: Kubernetes
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlparse(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self._answer("GET", url.path, lambda: self._get(url.path, query))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer("POST", self.path, lambda: self._post(self.path, body))

    def do_DELETE(self) -> None:
        url = urlparse(self.path)
        self._answer("DELETE", url.path, lambda: self._delete(url))

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, method: str, path: str, work: Any) -> None:
        state = self.state
        with state.lock:
            state.asked.append((method, path))
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                return self._send(401, {"message": "Unauthorized"})
            if state.failing:
                status = state.failing.pop(0)
                return self._send(status, {"message": "told to fail"})
            return self._send(*work())

    def _send(self, status: int, value: Any) -> None:
        body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _get(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        state = self.state
        if path == PODS:
            label, _, name = query["labelSelector"].partition("=")
            assert label == "jobset.sigs.k8s.io/jobset-name"
            return 200, {"items": [pod.described(name) for pod in state.pods.get(name, [])][::-1]}
        if path.endswith("/log"):
            assert (query["container"], query["timestamps"]) == ("node", "true")
            name = path.split("/")[-2]
            pod = next((pod for pods in state.pods.values() for pod in pods if pod.name == name), None)
            if pod is None:
                return 404, {"message": f'pods "{name}" not found'}
            since = query.get("sinceTime", "")[:19]  # the API counts in whole seconds
            return 200, "".join(line for line in [*pod.lines] if line[:19] >= since)
        if path == JOBS:
            key, _, value = query["labelSelector"].partition("=")
            found = [job for job in state.jobs.values() if job["metadata"].get("labels", {}).get(key) == value]
            return 200, {"items": found}
        job = state.jobs.get(path.removeprefix(f"{JOBS}/"))
        return (200, job) if job else (404, {"message": "trainjobs.trainer.kubeflow.org not found"})

    def _post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        assert path == JOBS
        known = TrainerV1alpha1TrainJob.from_dict(body)
        assert known
        if wrong := list(lost(body, known.to_dict())):
            return 422, {"message": f"unknown: {', '.join(wrong)}"}
        if body["metadata"]["name"] in self.state.jobs:
            return 409, {"message": "already exists"}
        self.state.create(body)
        return 201, body

    def _delete(self, url: Any) -> tuple[int, Any]:
        name = url.path.removeprefix(f"{JOBS}/")
        if name not in self.state.jobs:
            return 404, {"message": "not found"}
        assert parse_qs(url.query) == {"propagationPolicy": ["Foreground"]}
        self.state.delete(name)
        return 200, self.state.jobs[name]


def lost(given: Any, kept: Any, where: str = "") -> Iterator[str]:
    """Yield the places of a manifest that a typed model does not know: it drops them without a word."""
    if isinstance(given, dict):
        for key, value in given.items():
            if not isinstance(kept, dict) or key not in kept:
                yield f"{where}.{key}"
            else:
                yield from lost(value, kept[key], f"{where}.{key}")
    elif isinstance(given, list):
        if not isinstance(kept, list) or len(given) != len(kept):
            yield where
        else:
            for at, (value, other) in enumerate(zip(given, kept, strict=True)):
                yield from lost(value, other, f"{where}[{at}]")


def _why(code: int) -> str:
    return "Completed" if code == 0 else "OOMKilled" if code == 137 else "Error"


def _write_certificate(certificate: Path, key: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    builder = builder.add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    signed = builder.sign(private, hashes.SHA256())
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key.write_bytes(
        private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
