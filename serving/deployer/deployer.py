"""Reconcile: bring what the cluster serves one change nearer to what the promotion log says.

Nothing is remembered between steps but what stands in the log and on the InferenceService, so the process may die
anywhere, a write may be done though its answer is lost, and two deployers may run. The log moves before the cluster
does: a version is written into it as `production` first, and served to all after.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlparse

import httpx

from rewardlab.layout import GATE_REPORT
from rewardlab.mlflow_rest import RestRegistry
from rewardlab.promotion import Entry, Log, move, project, read, report_digest
from rewardlab.promotion.log import CHAMPION
from rewardlab.promotion.signing import NotSignedError, signed_off
from serving.deployer.kube import Kube
from serving.deployer.pods import observe
from serving.deployer.service import (
    CANARY,
    REFUSED,
    Object,
    Pinned,
    Refusal,
    Try,
    canaries,
    canary,
    change,
    check_template,
    holds,
    noted,
    predictor,
    service,
)
from serving.deployer.watch import Watch
from serving.logs import log

PRODUCTION = "production"
_BY = "deployer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is deployed: a registered model, by a template, from where MLflow's artifacts lie, watched in what way."""

    name: str
    template: Object
    artifacts: str
    watch: Watch

    def __post_init__(self) -> None:
        check_template(self.template)
        if urlparse(self.artifacts).scheme not in ("s3", "gs", "pvc"):
            raise ValueError(f"artifacts are where KServe reads them: s3://, gs:// or pvc://, got {self.artifacts!r}")


class Deployer:
    """Keeps one InferenceService at the promotion log.

    Args:
        job: what is deployed.
        registry: holds the promotion log, and knows where a version's bundle lies.
        kube: the cluster.
        pods: asks pods for their metrics.
        clock: the time, in seconds of the epoch.
    """

    def __init__(
        self,
        job: Job,
        *,
        registry: RestRegistry,
        kube: Kube,
        pods: httpx.Client,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._job = job
        self._registry, self._kube, self._pods = registry, kube, pods
        self._clock = clock
        self._service = str(job.template["metadata"]["name"])

    def step(self) -> str:
        """Make at most one change to the cluster, and return what was done, or what is waited for.

        Raises:
            ValueError: registry or cluster refuse, the cluster cannot be reached, another was faster, or the log was
                changed from outside; all that is served stays as it is.
            httpx.HTTPError: the registry cannot be reached.
        """
        promotions = read(self._registry, self._job.name)
        champion = promotions.head(CHAMPION)
        if champion is None:
            return f"nothing is champion of {self._job.name}"
        project(
            self._registry, self._job.name
        )  # whoever wrote into the log last may have died before the aliases moved
        production = promotions.head(PRODUCTION)
        if production is None:  # nothing to compare with: the gate's word, and people's, is all there is
            return self._unsigned(champion) or self._enter(champion, promotions, "the first champion")
        found = self._kube.get(self._service)
        if found is None:
            pinned = self._pinned(production)
            made = self._kube.create(service(self._job.template, pinned, self._kube.namespace))
            return self._tell(made, "Created", f"version {production.version} is served")
        stable = predictor(self._job.template, self._pinned(production))
        if not holds(found["spec"].get("predictor"), stable):
            self._kube.patch(self._service, change(found, {"predictor": stable, "canary": None}, {CANARY: None}))
            return self._tell(found, "Production", f"version {production.version} is served to all")
        return self._beside(found, champion, production, promotions)

    def _beside(self, found: Object, champion: Entry, production: Entry, promotions: Log) -> str:
        """Do what is to be done where production is as the log says."""
        refused = _parsed(Refusal, noted(found, REFUSED))
        if champion.bundle == production.bundle:
            return self._alone(found, f"version {production.version} is champion and in production")
        if refused and refused.entry == champion.digest:
            return self._alone(found, f"version {refused.version} is refused: {refused.why}")
        if champion.action == "rollback" and any(_same(champion, each) for each in promotions.accepted(PRODUCTION)):
            return self._enter(champion, promotions, "a rollback to what has been in production")
        if waits := self._unsigned(champion):  # a canary answers requests of production, too
            return self._alone(found, waits)
        pinned = self._pinned(champion)
        wanted = canary(self._job.template, pinned, percent=self._job.watch.percent)
        tried = _parsed(Try, noted(found, CANARY))
        if tried is None or tried.entry != champion.digest or not holds(canaries(found), [wanted]):
            begun = Try(entry=champion.digest, since=self._clock()).to_json()
            self._kube.patch(self._service, change(found, {"canary": [wanted]}, {CANARY: begun}))
            return self._tell(
                found, "Canary", f"version {champion.version} is tried on {self._job.watch.percent} % of the requests"
            )
        return self._judge(found, champion, tried, promotions)

    def _judge(self, found: Object, champion: Entry, tried: Try, promotions: Log) -> str:
        before = str(found["spec"]["predictor"]["labels"].get("rewardlab.io/version"))
        seen = observe(self._kube.pods(self._service), self._pods, f"{self._job.name}/{champion.version}", before)
        judgement = seen.judge(self._job.watch, bundle=champion.bundle, seconds=self._clock() - tried.since)
        if judgement.answer == "wait":
            return f"version {champion.version} is watched: {judgement.why}"
        if judgement.answer == "pass":
            return self._enter(champion, promotions, judgement.why)
        at = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        refusal = Refusal(entry=champion.digest, version=champion.version, why=judgement.why, at=at)
        self._kube.patch(self._service, change(found, {"canary": None}, {CANARY: None, REFUSED: refusal.to_json()}))
        return self._tell(found, "RolledBack", f"version {champion.version} is refused: {judgement.why}", warning=True)

    def _alone(self, found: Object, why: str) -> str:
        """See to it that nothing is served beside production."""
        if not canaries(found) and not noted(found, CANARY):
            return why
        self._kube.patch(self._service, change(found, {"canary": None}, {CANARY: None}))
        return self._tell(found, "CanaryRemoved", why)

    def _enter(self, champion: Entry, promotions: Log, why: str) -> str:
        """Write into the log that a champion is in production, then serve it to all."""
        self._pinned(champion)
        head = promotions.head(PRODUCTION)
        before = next((each for each in promotions.accepted(PRODUCTION) if _same(champion, each)), None)
        entry = Entry.from_dict(
            champion.to_dict()
            | {
                "alias": PRODUCTION,
                "action": "rollback" if before and champion.action == "rollback" else "promote",
                "follows": head.digest if head else "",
                "signed": list(before.signed if before else self._signed(champion)),
                "by": _BY,
                "at": datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds"),
            }
        )
        move(self._registry, self._job.name, entry)
        self._say("Promoted", f"version {champion.version} is production in the log: {why}")
        return self.step()

    def _unsigned(self, champion: Entry) -> str:
        """Return that people have to sign before a champion goes into production, or nothing."""
        try:
            self._signed(champion)
        except NotSignedError as error:
            return f"version {champion.version} waits: {error}"
        return ""

    def _signed(self, champion: Entry) -> tuple[str, ...]:
        """Return who signed the report by which a champion goes into production.

        Raises:
            NotSignedError: its policy asks for more people.
            ValueError: the registry does not keep the report that the promotion log names.
        """
        report, label = self._registry.document(champion.run, GATE_REPORT), f"{self._job.name}/{champion.version}"
        if report_digest(report) != champion.report:
            raise ValueError(f"the registry does not keep the report that made {label} champion: it is not served")
        tags = self._registry.tags(self._job.name, champion.version)
        return signed_off(report, tags, label)

    def _pinned(self, entry: Entry) -> Pinned:
        """Return where the bundle of an entry lies.

        Raises:
            ValueError: the version holds another bundle than the log names, or lies where KServe cannot read it.
        """
        version = self._registry.find(f"models:/{self._job.name}/{entry.version}")
        if version.digest != entry.bundle:
            raise ValueError(
                f"{version.name}/{version.number} holds the bundle {version.digest!r:.20}, and the promotion log names "
                f"{entry.bundle!r:.20}: it is not served"
            )
        place = urlparse(version.source)
        if place.scheme == "mlflow-artifacts":
            uri = f"{self._job.artifacts.rstrip('/')}/{place.path.strip('/')}"
        elif place.scheme in ("s3", "gs"):
            uri = version.source
        else:
            raise ValueError(f"{version.name}/{version.number} lies at {version.source}, where KServe cannot read it")
        return Pinned(name=version.name, version=version.number, bundle=entry.bundle, uri=uri)

    def _tell(self, found: Object, reason: str, message: str, *, warning: bool = False) -> str:
        """Write an event and a line of the log about a change that has been made; a lost event changes nothing."""
        try:
            self._kube.tell(found, reason, message, warning=warning)
        except ValueError as error:
            log.warning("an event was not written: %s", error)
        return self._say(reason, message, warning=warning)

    def _say(self, reason: str, message: str, *, warning: bool = False) -> str:
        facts = {"facts": {"reason": reason, "service": self._service}}
        (log.error if warning else log.warning)("%s", message, extra=facts)
        return message


def _same(one: Entry, other: Entry) -> bool:
    """Say whether two entries are about the same promotion of the same bundle."""
    about = [(each.version, each.bundle, each.test_digest, each.report, each.run) for each in (one, other)]
    return about[0] == about[1]


def _parsed(kind: Any, text: str) -> Any:
    """Return what an annotation holds; None where there is none, or somebody wrote something else into it."""
    try:
        return kind.from_json(text) if text else None
    except (ValueError, json.JSONDecodeError):
        return None
