"""Say what a run would do, and do nothing: no run folder, no registry, no step."""

import json
import os
from typing import TypedDict

from pipelines.local.run import Source, pipeline_arguments
from pipelines.recipes import CONFIGURED, Recipe, named
from rewardlab.config import canonical_json
from rewardlab.home import home, tracking_uri
from steps.common.data_location import version
from steps.registry.client import champion_record, connect
from steps.resolve import data_version


class DataPlan(TypedDict):
    """The data that a run would use."""

    path: str
    md5: str
    changed: str | None
    test_md5: str | None


class Plan(TypedDict):
    """What a run would do; `steps` holds the settings of each step."""

    name: str
    data: DataPlan
    registry: str
    champion: str | None
    lineage: dict[str, str]
    steps: dict[str, dict[str, object]]


def plan(recipe: Recipe, source: Source, *, name: str) -> Plan:
    """Return what a run of a recipe on these data would be: data, champion, lineage, and every step's settings.

    Raises:
        ValueError: there are no such data, or the registry cannot be reached.
    """
    arguments = pipeline_arguments(named(recipe, name), source, run_id="", run_folder="")
    data = data_version(source.repository, source.revision, source.data)
    settings = {step: json.loads(arguments[f"{step}_settings"]) for step in CONFIGURED}
    return {
        "name": name,
        "data": {
            "path": source.data or f"data.dvc of {source.repository} at {source.revision or 'its working tree'}",
            "md5": data.md5,
            "changed": data.time or None,
            "test_md5": version(source.test) if source.test else None,
        },
        "registry": tracking_uri(),
        "champion": _champion(name),
        "lineage": json.loads(arguments["report_settings"])["config"]["lineage"],
        "steps": settings,
    }


def plan_lines(found: Plan) -> str:
    """Return a plan as lines for a terminal."""
    data = found["data"]
    rows = [
        ("would run", f"recipe {found['lineage']['recipe']}, registered model {found['name']}"),
        ("data", f"{data['path']}, md5 {data['md5']}, changed {data['changed'] or 'at a time that is not known'}"),
        *([("test data", f"md5 {data['test_md5']}")] if data["test_md5"] else []),
        ("registry", found["registry"]),
        ("champion", found["champion"] or "none"),
        *((key.replace("_", " "), value) for key, value in found["lineage"].items() if key != "recipe"),
        *((step, canonical_json(each["config"])) for step, each in found["steps"].items()),
    ]
    return "\n".join(f"{name:<10} {value}" for name, value in rows)


def _champion(name: str) -> str | None:
    """Return who is champion, without making a registry where there is none."""
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (home() / "mlflow.db").is_file():
        return None
    record = champion_record(connect(), name)
    return record.label if record else None
