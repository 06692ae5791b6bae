"""Train on the nodes of a cluster: a Kubeflow TrainJob that is submitted, watched, and ends with the one who waits.

What the job is made of, all but its name and its command, is in the variable `REWARDLAB_TRAIN_JOB`, which a profile
sets (`pipelines/kubeflow/train_job.py`). Kubeflow Trainer starts the command on each node with torchrun's `PET_`
variables; its runtime starts all nodes again where one is lost, and training goes on from its checkpoint.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Self

from rewardlab.kubernetes import Kubernetes
from steps.registry.step_failures import cluster_run
from steps.train.launch.signals import on_sigterm
from steps.train.launch.torchrun import REPORTS, first_report

SPEC = "REWARDLAB_TRAIN_JOB"
POD_NAME, POD_UID = "REWARDLAB_POD_NAME", "REWARDLAB_POD_UID"
"""The pod that owns the job, so that the job goes when the pod does."""
_API = "trainer.kubeflow.org/v1alpha1"
_WATCH_SECONDS, _GONE_SECONDS = 5.0, 1.0
_PATIENCE_SECONDS = 600.0
_HINTS = {
    403: "the pipeline's service account needs create, get and delete on trainjobs, get on pods and pods/log",
    404: "is Kubeflow Trainer installed?",
}
_CONTAINER = "node"
_RUN_LABEL = "rewardlab.io/run"
"""The label that a job has of the run it belongs to."""
_WITH_PODS = {"propagationPolicy": "Foreground"}
_STOPPED = 143
"""The exit code of what ended by SIGTERM, which the others get when one fails."""


@dataclass(frozen=True, slots=True)
class TrainJob:
    """What the nodes run; `spec` is a TrainJob's without the command."""

    spec: dict[str, Any]

    @classmethod
    def described(cls) -> Self | None:
        """Return the job that the environment describes, or None: then one machine trains."""
        text = os.environ.get(SPEC)
        return cls(json.loads(text)) if text else None

    def run(
        self, module: str, arguments: Sequence[str | Path], *, num_processes: int, name: str, reports: Path
    ) -> None:
        """Run `python -m MODULE ARGUMENTS` in so many processes on the nodes and wait for them; their logs are told.

        Args:
            module: what each process runs.
            arguments: its arguments; paths are on storage that all nodes share.
            num_processes: on all nodes together.
            name: of the work; a job of this name that still does the same is watched on.
            reports: a folder that all nodes share, where processes say why they failed.

        Raises:
            ChildProcessError: the job failed; the message holds what the first process to fail said. What is wrong with
                data or settings ends the job before its nodes are started again.
            InterruptedError: SIGTERM came; the job is gone, its processes had time to keep what they had done.
            ValueError: the processes cannot be divided over the nodes, or Kubernetes refuses the job.
        """
        shutil.rmtree(reports, ignore_errors=True)
        reports.mkdir()
        stop = Event()
        kubernetes = Kubernetes.of_pod(
            remedy="train on one node",
            patience_seconds=_PATIENCE_SECONDS,
            hints=_HINTS,
        )
        with closing(kubernetes) as cluster, on_sigterm(stop.set):
            wanted = self._manifest(name, module, arguments, num_processes=num_processes, reports=reports)
            job = _Standing(cluster, wanted)
            job.start()
            try:
                while not job.ended():
                    if reason := first_report(reports, final=True):
                        raise ChildProcessError(f"TrainJob {name} was ended, it would fail again: {reason}")
                    if stop.wait(_WATCH_SECONDS):
                        raise InterruptedError(
                            f"TrainJob {name} was asked to stop: the same command goes on from there"
                        )
            except BaseException:
                with suppress(ValueError):
                    job.delete()
                raise
            if reason := job.failure(reports):
                raise ChildProcessError(f"TrainJob {name} failed: {reason}")

    def _manifest(
        self, name: str, module: str, arguments: Sequence[str | Path], *, num_processes: int, reports: Path
    ) -> dict[str, Any]:
        trainer = self.spec["trainer"]
        per_node, left = divmod(num_processes, trainer["numNodes"])
        if left or not per_node:
            raise ValueError(f"{num_processes} processes cannot be divided over {trainer['numNodes']} nodes")
        command = ["python", "-m", "torch.distributed.run", "--module", module, *map(str, arguments)]
        told = {"command": command, "numProcPerNode": per_node}
        told["env"] = [*trainer.get("env", []), {"name": REPORTS, "value": str(reports)}]
        labels = {"app.kubernetes.io/part-of": "rewardlab"}
        if run := cluster_run():
            labels[_RUN_LABEL] = run
        metadata: dict[str, object] = {"name": name, "labels": labels}
        if owner := os.environ.get(POD_UID):
            pod = {"apiVersion": "v1", "kind": "Pod", "name": os.environ[POD_NAME], "uid": owner}
            metadata["ownerReferences"] = [pod]
        spec = {**self.spec, "trainer": {**trainer, **told}}
        return {"apiVersion": _API, "kind": "TrainJob", "metadata": metadata, "spec": spec}


def delete_jobs_of_run() -> None:
    """Delete the jobs that this run has left behind, if a cluster runs it: a killed train step deletes none.

    Its pod owns the job, but stays for an hour after the run. What cannot be deleted is told and left.
    """
    if not cluster_run():
        return
    try:
        with closing(Kubernetes.of_pod(remedy="delete the run's TrainJobs by hand", hints=_HINTS)) as cluster:
            jobs = _jobs_path(cluster)
            left = cluster.ask("GET", jobs, query={"labelSelector": f"{_RUN_LABEL}={cluster_run()}"}, allowed=(404,))
            names = [job["metadata"]["name"] for job in left.json()["items"]] if left.is_success else []
            for name in names:
                cluster.ask("DELETE", f"{jobs}/{name}", query=_WITH_PODS, allowed=(404,))
                print(f"TrainJob {name} had outlived its step: it is deleted", file=sys.stderr)
    except ValueError as error:
        print(f"the run's TrainJobs are not looked for: {error}", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class _Pod:
    """The pod of a node; `killed` says why it was ended from outside, if it was."""

    name: str
    node: int
    killed: str | None


@dataclass(slots=True)
class _Standing:
    """One job on the cluster, and how much of its pods' logs was told; `found` is the job as it was last seen."""

    cluster: Kubernetes
    wanted: dict[str, Any]
    found: dict[str, Any] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    @property
    def _path(self) -> str:
        return f"{_jobs_path(self.cluster)}/{self.wanted['metadata']['name']}"

    def start(self) -> None:
        """Submit the job, unless it runs already.

        One that has ended, is on its way out, does something else, or belongs to another pod, with which it would go,
        makes room.
        """
        answer = self.cluster.ask("GET", self._path, allowed=(404,))
        if answer.status_code == 404:
            made = self.cluster.ask("POST", _jobs_path(self.cluster), body=self.wanted, allowed=(409,))
            if made.status_code == 409:  # the first of two tries had arrived
                self.start()
            return
        standing, trainer = answer.json(), self.wanted["spec"]["trainer"]
        same = {key: standing["spec"]["trainer"].get(key) for key in trainer} == trainer
        same = same and _owner(standing) == _owner(self.wanted)
        if same and not _outcome(standing) and "deletionTimestamp" not in standing["metadata"]:
            print("a TrainJob that does the same is under way: it is watched on", file=sys.stderr)
            return
        self.delete()
        self.start()

    def delete(self) -> None:
        """Delete the job and wait until its pods are gone, which have time to keep what they did."""
        while self.cluster.ask("DELETE", self._path, query=_WITH_PODS, allowed=(404,)).status_code != 404:
            time.sleep(_GONE_SECONDS)

    def ended(self) -> bool:
        """Tell what the pods have written since, and return whether the job has ended."""
        self.found = self.cluster.ask("GET", self._path).json()
        outcome = _outcome(self.found)
        for pod in self._pods():
            self._tell(pod)
        return bool(outcome)

    def failure(self, reports: Path) -> str | None:
        """Return why the job failed, None if it did not: a killed node is the cause of what the others say."""
        outcome = _outcome(self.found)
        if outcome and outcome["type"] == "Complete":
            return None
        assert outcome
        killed = next((pod.killed for pod in self._pods() if pod.killed), None)
        return (
            killed or first_report(reports) or outcome.get("message") or outcome.get("reason") or "no reason is given"
        )

    def _pods(self) -> list[_Pod]:
        query = {"labelSelector": f"jobset.sigs.k8s.io/jobset-name={self.wanted['metadata']['name']}"}
        path = f"/api/v1/namespaces/{self.cluster.namespace}/pods"
        objects = self.cluster.ask("GET", path, query=query).json()["items"]
        return sorted(map(_pod, objects), key=lambda pod: pod.node)

    def _tell(self, pod: _Pod) -> None:
        """Print the lines of a pod that are newer than those printed; one that has not started or is gone has none."""
        query = {"container": _CONTAINER, "timestamps": "true"}
        since = self.told.get(pod.name, "")
        if since:
            query["sinceTime"] = since
        path = f"/api/v1/namespaces/{self.cluster.namespace}/pods/{pod.name}/log"
        answer = self.cluster.ask("GET", path, query=query, allowed=(400, 404))
        for line in answer.text.splitlines() if answer.is_success else ():
            stamp, _, text = line.partition(" ")
            if stamp > since:  # what was written in the second of `since` comes again
                self.told[pod.name] = stamp
                print(f"node {pod.node} | {text}", file=sys.stderr)


def _jobs_path(cluster: Kubernetes) -> str:
    return f"/apis/{_API}/namespaces/{cluster.namespace}/trainjobs"


def _outcome(job: dict[str, Any]) -> dict[str, str] | None:
    """Return the condition with which a job has ended, if it has."""
    for condition in job.get("status", {}).get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            found: dict[str, str] = condition
            return found
    return None


def _owner(job: dict[str, Any]) -> list[str]:
    return [each["uid"] for each in job["metadata"].get("ownerReferences", ())]


def _pod(found: dict[str, Any]) -> _Pod:
    """Return what is read of a pod's object."""
    metadata = found["metadata"]
    node = int(metadata.get("labels", {}).get("batch.kubernetes.io/job-completion-index", 0))
    return _Pod(metadata["name"], node, next(_killed(node, found.get("status", {})), None))


def _killed(node: int, status: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a pod was ended from outside: evicted, or a container killed by a signal other than SIGTERM."""
    if reason := status.get("reason"):
        yield f"node {node} was ended: {reason}"
    for each in status.get("containerStatuses") or ():
        ended = each.get("state", {}).get("terminated") or {}
        code = ended.get("exitCode", 0)
        if ended.get("reason") == "OOMKilled" or (code > 128 and code != _STOPPED):
            yield f"node {node} was ended: {ended.get('reason', 'killed')}, exit code {code}"
