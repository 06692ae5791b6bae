"""A cluster in memory: MLflow's REST API, the Kubernetes API, KServe's admission rules, and pods that tell metrics.

Every call can fail, fail after it was done, be preceded by somebody else's, or kill the caller. After each write it is
checked that all that is served stands in the promotion log.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx

from rewardlab.mlflow_rest import RestRegistry
from rewardlab.promotion import Entry, Log, replay, report_digest
from serving.deployer.deployer import Deployer, Job
from serving.deployer.kube import Kube
from serving.deployer.service import Object
from serving.deployer.watch import Watch
from tests.cluster.kserve import inadmissible
from tests.promotion_store import DiedError

NAME, ARTIFACTS = "reward-model", "s3://rewardlab/mlflow"
WATCH = Watch(min_seconds=60.0, max_seconds=600.0, min_requests=100, min_rewards=200)
REQUESTS_A_SECOND = 5
GOOD, FAILS, SLOW, DRIFTS, NOT_FINITE, RESTARTS, UNREADY, OTHER_BUNDLE, IDLE = HEALTHS = (
    "good",
    "fails",
    "slow",
    "drifts",
    "not finite",
    "restarts",
    "unready",
    "other bundle",
    "idle",
)


def metrics(version: str, health: str, seconds: float) -> str:
    """Return what a pod of a version tells that has run for so many seconds."""
    requests = 0 if health == IDLE else int(seconds * REQUESTS_A_SECOND)
    failed = requests // 10 if health == FAILS else 0
    fast = 0 if health == SLOW else requests
    bundle = "another" if health == OTHER_BUNDLE else f"bundle-{version}"
    return "\n".join(
        [
            f'rewardlab_model{{model="{NAME}/{version}",digest="{bundle}"}} 1.0',
            f'rewardlab_requests_total{{dialect="native",status="200"}} {requests - failed}',
            f'rewardlab_requests_total{{dialect="native",status="500"}} {failed}',
            f'rewardlab_request_seconds_bucket{{dialect="native",le="0.1"}} {fast}',
            f'rewardlab_request_seconds_bucket{{dialect="native",le="60.0"}} {requests}',
            f'rewardlab_request_seconds_bucket{{dialect="native",le="+Inf"}} {requests}',
            f'rewardlab_failed_responses_total{{kind="not_finite"}} {int(health == NOT_FINITE and requests > 0)}',
            f"rewardlab_responses_total {4 * requests}",
            f"rewardlab_drift {0.4 if health == DRIFTS else 0.02 if requests else 0.0}",
            "",
        ]
    )


@dataclass
class World:
    """What there is; `fault` says before each call what befalls it (see `_handle`), by its method and path."""

    template: Object
    health: dict[str, str]
    fault: Callable[[str], str] = lambda _: ""
    now: float = 1_000_000.0
    texts: list[str] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    service: Object | None = None
    started: dict[str, float] = field(default_factory=dict)
    events: list[Object] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    other: Callable[[], None] | None = None
    asks: dict[str, int] = field(default_factory=dict)
    signed: dict[str, dict[str, str]] = field(default_factory=dict)
    _replayed: tuple[int, Log] = (0, Log(()))

    def deployer(self) -> Deployer:
        """Return a deployer that has just been started."""
        transport = httpx.MockTransport(self._handle)
        mlflow = httpx.Client(base_url="http://mlflow", transport=transport)
        kube = Kube(httpx.Client(base_url="https://kube", transport=transport), "rewardlab")
        job = Job(name=NAME, template=self.template, artifacts=ARTIFACTS, watch=WATCH)
        return Deployer(
            job,
            registry=RestRegistry(mlflow),
            kube=kube,
            pods=httpx.Client(transport=transport),
            clock=lambda: self.now,
        )

    @property
    def log(self) -> Log:
        """Return the promotion log, which only grows."""
        if self._replayed[0] != len(self.texts):
            self._replayed = (len(self.texts), replay(list(enumerate(self.texts, start=1))))
        return self._replayed[1]

    def crown(self, version: str, action: str = "promote") -> Entry:
        """Make a version champion, as a pipeline or a person does."""
        head = self.log.head("champion")
        about = {"alias": "champion", "action": action, "version": version, "bundle": f"bundle-{version}"}
        rest = {"test_digest": "t", "run": f"run-{version}", "by": "me", "at": "now"}
        rest |= {"report": report_digest(self.report(version)), "follows": head.digest if head else ""}
        entry = Entry.from_dict(about | rest)
        self.texts.append(entry.to_json())
        return entry

    def report(self, version: str) -> Object:
        """Return the gate's report on a version, whose policy `asks` people to sign before it is production."""
        people = self.asks.get(version)
        asked = {"aliases": ["production"], "people": people} if people else None
        return {"bundle": f"bundle-{version}", "policy": {"sign_off": asked}}

    def sign(self, version: str, person: str) -> None:
        """Let somebody sign the report on a version."""
        self.signed.setdefault(version, {})[f"approved.{person}"] = f"now {report_digest(self.report(version))}"

    def settle(self, seconds: float = 2000.0) -> None:
        """Let a deployer work for a while, undisturbed."""
        deployer = self.deployer()
        for _ in range(int(seconds / 20)):
            self.now += 20.0
            deployer.step()

    @property
    def stable(self) -> str:
        """Return the version that is served to all."""
        return self._version(self.service["spec"]["predictor"]) if self.service else ""

    @property
    def canaries(self) -> list[str]:
        """Return the versions of the canaries."""
        found = (self.service or {"spec": {}})["spec"].get("canary") or []
        return [self._version(each["predictor"]) for each in found]

    def note(self, key: str) -> dict[str, Any]:
        """Return an annotation of ours."""
        assert self.service
        text = self.service["metadata"].get("annotations", {}).get(f"rewardlab.io/{key}")
        return dict(json.loads(text)) if text else {}

    def check(self) -> None:
        """Hold what is served against the promotion log."""
        log = self.log
        production = log.accepted("production")
        served = [*self.canaries, *filter(None, [self.stable])]
        assert len(self.canaries) <= 1
        assert set(served) <= {each.version for each in log.accepted("champion")}
        assert not self.stable or self.stable in {each.version for each in production[-2:]}
        for entry in production[1:]:
            assert entry.action == "rollback" or self.health[entry.version] == GOOD, f"{entry.version} is in production"
        assert all(len(entry.signed) >= self.asks.get(entry.version, 0) for entry in production)
        assert self.refused == []

    def _version(self, predictor: Object) -> str:
        version = str(predictor["labels"]["rewardlab.io/version"])
        model = predictor["model"]
        assert model["storageUri"] == f"{ARTIFACTS}/1/run-{version}/artifacts/bundles/b"
        assert model["args"][-2:] == [f"--name={NAME}", f"--version={version}"]
        assert predictor["name"] == f"v{version}"
        return version

    def _handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a call: "lost" and "late" time out before and after it, "dies" and "dies late" kill the caller.

        "error" is a 500, "other" lets another deployer work first, "touched" changes the object first.
        """
        fault = self.fault(f"{request.method} {request.url.path}")
        if fault == "lost":
            raise httpx.ConnectTimeout("timed out", request=request)
        if fault == "dies":
            raise DiedError
        if fault == "error":
            return httpx.Response(500, json={"message": "told to fail"})
        if fault == "other" and self.other:
            self.other()
        if fault == "touched" and self.service:
            self._write(self.service)
        answer = self._answer(request)
        if request.method != "GET":
            self.check()
        if fault == "late":
            raise httpx.ReadTimeout("timed out", request=request)
        if fault == "dies late":
            raise DiedError
        return answer

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        if request.url.host == "mlflow":
            return self._mlflow(request.url.path.removeprefix("/api/2.0/mlflow/"), _query(request), body)
        if request.url.host == "kube":
            return self._kube(request.method, request.url.path, body)
        return self._pod(request.url.host)

    def _mlflow(self, path: str, query: dict[str, str], body: Any) -> httpx.Response:  # noqa: PLR0911 (one a call)
        if path == "model-versions/search":
            found = [
                {"version": str(number), "tags": [{"key": "entry", "value": text}]}
                for number, text in enumerate(self.texts, start=1)
            ]
            return httpx.Response(200, json={"model_versions": found})
        if path == "model-versions/get":
            version = query["version"]
            source = f"mlflow-artifacts:/1/run-{version}/artifacts/bundles/b"
            tags = [{"key": "bundle", "value": f"bundle-{version}"}]
            tags += [{"key": key, "value": value} for key, value in self.signed.get(version, {}).items()]
            return httpx.Response(200, json={"model_version": {"version": version, "source": source, "tags": tags}})
        if path == "runs/get":
            place = f"mlflow-artifacts:/1/{query['run_id']}/artifacts"
            return httpx.Response(200, json={"run": {"info": {"artifact_uri": place}}})
        if path.endswith("/reports/gate.json"):
            return httpx.Response(200, json=self.report(path.split("/run-")[1].partition("/")[0]))
        if path == "registered-models/create":
            return httpx.Response(400, json={"error_code": "RESOURCE_ALREADY_EXISTS"})
        if path == "model-versions/create":
            self.texts.append(body["tags"][0]["value"])
            return httpx.Response(200, json={})
        if path == "registered-models/get":
            named = [{"alias": alias, "version": version} for alias, version in self.aliases.items()]
            return httpx.Response(200, json={"registered_model": {"aliases": named}})
        assert path == "registered-models/alias", path
        self.aliases[body["alias"]] = body["version"]
        return httpx.Response(200, json={})

    def _kube(self, method: str, path: str, body: Any) -> httpx.Response:  # noqa: PLR0911 (one a call)
        if path.endswith("/pods"):
            return httpx.Response(200, json={"items": self._pods()})
        if path.endswith("/events"):
            self.events.append(body)
            return httpx.Response(201, json=body)
        if method == "POST":
            if self.service:
                return httpx.Response(409, json={"message": "it is there already"})
            if why := inadmissible(body):
                self.refused.append(why)
                return httpx.Response(400, json={"message": why})
            return httpx.Response(201, json=self._write(body))
        if not self.service:
            return httpx.Response(404, json={"message": "not found"})
        if method == "PATCH":
            if body["metadata"].pop("resourceVersion") != self.service["metadata"]["resourceVersion"]:
                return httpx.Response(409, json={"message": "the object has been modified"})
            wanted = merged(self.service, body)
            if why := inadmissible(wanted, self.service):
                self.refused.append(why)
                return httpx.Response(400, json={"message": why})
            self._write(wanted)
        return httpx.Response(200, json=self.service)

    def _write(self, wanted: Object) -> Object:
        version = int(self.service["metadata"]["resourceVersion"]) + 1 if self.service else 1
        metadata = {**wanted["metadata"], "resourceVersion": str(version), "uid": "u"}
        self.service = {**wanted, "metadata": metadata}
        served = {self.stable, *self.canaries}
        self.started = {each: self.started.get(each, self.now) for each in served}
        return self.service

    def _pods(self) -> list[Object]:
        return [
            {
                "metadata": {"name": f"pod-{version}", "labels": {"rewardlab.io/version": version}},
                "status": {
                    "podIP": f"10.0.0.{version}",
                    "conditions": [{"type": "Ready", "status": str(self.health[version] != UNREADY)}],
                    "containerStatuses": [{"restartCount": int(self.health[version] == RESTARTS)}],
                },
            }
            for version in self.started
        ]

    def _pod(self, host: str) -> httpx.Response:
        version = host.rpartition(".")[2]
        if version not in self.started:
            raise httpx.ConnectError("the pod is gone")
        return httpx.Response(200, text=metrics(version, self.health[version], self.now - self.started[version]))


def merged(target: Any, patch: Any) -> Any:
    """Apply a merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


def _query(request: httpx.Request) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(request.url.query.decode()).items()}
