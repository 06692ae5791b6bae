"""Operations: who stays up while nodes go, who is watched and scaled, and how MLflow is started."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from serving.deployer.service import check_template
from tests.cluster.kserve import inadmissible
from tests.manifests.links import selects
from tests.manifests.manifests import Object, Rule, name_of, of_kind, pods, templates

JOB_RUNNER, WEBHOOK_KEY = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"
_STORE, _SESSION = "MLFLOW_BACKEND_STORE_URI", "MLFLOW_FLASK_SERVER_SECRET_KEY"


def budgets_of_two_minds(objects: list[Object]) -> Iterator[str]:
    """Yield budgets that say nothing, or two things."""
    for each in of_kind(objects, "PodDisruptionBudget"):
        if len({"minAvailable", "maxUnavailable"} & set(each["spec"])) != 1:
            yield name_of(each)


def budgets_that_hold_nodes(objects: list[Object]) -> Iterator[str]:
    """Yield budgets that let no pod go: no node could be drained."""
    for each in of_kind(objects, "PodDisruptionBudget"):
        if each["spec"].get("maxUnavailable", 1) in (0, "0%") or each["spec"].get("minAvailable") == "100%":
            yield name_of(each)


def several_without_budget(objects: list[Object]) -> Iterator[str]:
    """Yield what has several pods, all of which may be taken at once."""
    budgets = [each["spec"]["selector"]["matchLabels"] for each in of_kind(objects, "PodDisruptionBudget")]
    several = {name_of(each) for each in of_kind(objects, "Deployment") if each["spec"].get("replicas", 1) > 1}
    several |= {name_of(each) for each in templates(objects)}
    for pod in pods(objects):
        if pod.owner in several and not any(selects(budget, pod.labels) for budget in budgets):
            yield pod.owner


def not_watched(objects: list[Object]) -> Iterator[str]:
    """Yield InferenceServices without a monitor, or whose alerts nobody would get."""
    for each in templates(objects):
        if not of_kind(objects, "ServiceMonitor") or not of_kind(objects, "PrometheusRule"):
            yield name_of(each)


def alerts_that_say_nothing(objects: list[Object]) -> Iterator[str]:
    """Yield alerts without a severity, a summary, or a condition."""
    for each in of_kind(objects, "PrometheusRule"):
        for rule in (rule for group in each["spec"]["groups"] for rule in group["rules"]):
            if not (rule.get("labels", {}).get("severity") and rule.get("annotations", {}).get("summary")):
                yield f"{name_of(each)}, alert {rule.get('alert')}"


def not_split(objects: list[Object]) -> Iterator[str]:
    """Yield InferenceServices for which KServe splits no traffic."""
    for each in templates(objects):
        try:
            check_template(each)
        except ValueError as error:
            yield f"{name_of(each)}: {error}"


def refused_by_kserve(objects: list[Object]) -> Iterator[str]:
    """Yield InferenceServices that KServe's webhook does not admit."""
    for each in templates(objects):
        if why := inadmissible(each):
            yield f"{name_of(each)}: {why}"


def not_scaled(objects: list[Object]) -> Iterator[str]:
    """Yield InferenceServices that are not scaled by the seconds of work that wait, or not from two pods up."""
    for each in templates(objects):
        predictor = each["spec"]["predictor"]
        least, most = predictor.get("minReplicas", 1), predictor.get("maxReplicas", 1)
        scaler = each["metadata"].get("annotations", {}).get("serving.kserve.io/autoscalerClass")
        if (
            not 2 <= least < most
            or scaler != "keda"
            or "rewardlab_queue_seconds" not in str(predictor.get("autoScaling"))
        ):
            yield name_of(each)


def open_outside(objects: list[Object]) -> Iterator[str]:
    """Yield services that the world outside the cluster can reach."""
    for each in of_kind(objects, "Service"):
        if each["spec"].get("type", "ClusterIP") != "ClusterIP" or each["spec"].get("externalIPs"):
            yield name_of(each)


def state_of_one_node(objects: list[Object]) -> Iterator[str]:
    """Yield the claim of pipeline and training where several nodes cannot write to it at once."""
    for each in of_kind(objects, "PersistentVolumeClaim"):
        if each["spec"].get("accessModes") != ["ReadWriteMany"]:
            yield name_of(each)


def trainings_that_give_up(objects: list[Object]) -> Iterator[str]:
    """Yield runtimes that do not start their nodes again, or in which Trainer does not find the node's container."""
    for each in of_kind(objects, "ClusterTrainingRuntime"):
        inner = each["spec"]["template"]["spec"]
        jobs = [(job["name"], job["template"].get("metadata", {}).get("labels", {})) for job in inner["replicatedJobs"]]
        found = [(name, labels.get("trainer.kubeflow.org/trainjob-ancestor-step")) for name, labels in jobs]
        starts = inner.get("failurePolicy", {}).get("maxRestarts", 0)
        if not starts or found != [("node", "trainer")] or "torch" not in each["spec"].get("mlPolicy", {}):
            yield name_of(each)


def _mlflow(holds: Callable[[dict[str, str], dict[str, Any]], bool], objects: list[Object]) -> Iterator[str]:
    """Yield MLflow servers that break a rule of (options of the command, variables)."""
    for pod in pods(objects):
        for where, each in pod.containers:
            if "mlflow" in each.get("command", []):
                options = dict(argument.partition("=")[::2] for argument in each.get("args", []))
                if not holds(options, {entry["name"]: entry for entry in each.get("env", [])}):
                    yield where


def _knows_its_hosts(options: dict[str, str], _: dict[str, Any]) -> bool:
    """Say whether only hosts that are named are answered, each with its port, as MLflow compares them."""
    hosts = options.get("--allowed-hosts", "").split(",")
    return all(host.endswith(f":{options.get('--port')}") and "*" not in host for host in hosts)


def _runs_no_jobs(_: dict[str, str], variables: dict[str, Any]) -> bool:
    return bool(variables.get(JOB_RUNNER, {}).get("value") == "false")


def _reads(name: str, _: dict[str, str], variables: dict[str, Any]) -> bool:
    return "secretKeyRef" in variables.get(name, {}).get("valueFrom", {})


def _stores_outside(options: dict[str, str], variables: dict[str, Any]) -> bool:
    """Say whether database and artifacts lie outside the pod."""
    return options.get("--artifacts-destination") == "$(ARTIFACTS)" and _reads(_STORE, options, variables)


def only_one_deployer(objects: list[Object]) -> Iterator[str]:
    """Yield deployers that run twice, or beside the one that replaces them."""
    for each in of_kind(objects, "Deployment"):
        doubled = each["spec"].get("replicas", 1) != 1 or each["spec"].get("strategy", {}).get("type") != "Recreate"
        if each["metadata"]["name"] == "deployer" and doubled:
            yield name_of(each)


OPERATIONS: dict[str, Rule] = {
    "a budget has no limit, or two": budgets_of_two_minds,
    "a budget lets no node be drained": budgets_that_hold_nodes,
    "what has several pods has no budget": several_without_budget,
    "an InferenceService is not watched": not_watched,
    "an alert says nothing": alerts_that_say_nothing,
    "an InferenceService knows no canary": not_split,
    "KServe refuses an InferenceService": refused_by_kserve,
    "an InferenceService is not scaled by what waits": not_scaled,
    "a service is open to the world": open_outside,
    "a claim is of one node": state_of_one_node,
    "a training gives up, or does not begin": trainings_that_give_up,
    "MLflow lets in whoever comes": partial(_mlflow, lambda options, _: options.get("--app-name") == "basic-auth"),
    "MLflow answers any host": partial(_mlflow, _knows_its_hosts),
    "MLflow runs jobs": partial(_mlflow, _runs_no_jobs),
    "MLflow forgets the webhook's secret": partial(_mlflow, partial(_reads, WEBHOOK_KEY)),
    "MLflow's sessions end with the process": partial(_mlflow, partial(_reads, _SESSION)),
    "MLflow keeps its state in the pod": partial(_mlflow, _stores_outside),
    "two deployers run at once": only_one_deployer,
}
