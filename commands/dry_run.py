"""Say what a run would do, and do nothing: no run folder, no registry, no step."""

import json
import os

from pipelines.local.run import Source, pipeline_arguments
from pipelines.recipes import CONFIGURED, Recipe, named
from rewardlab.config import canonical_json
from rewardlab.home import home, tracking_uri
from steps.common.data_location import version
from steps.registry.client import champion_record, connect
from steps.resolve import data_version


def plan_lines(recipe: Recipe, source: Source, *, name: str) -> str:
    """Return what a run of a recipe on these data would be, as lines for a terminal.

    They say data, champion, lineage, and every step's settings.

    Raises:
        ValueError: there are no such data, or the registry cannot be reached.
    """
    arguments = pipeline_arguments(named(recipe, name), source, run_id="", run_folder="")
    lineage = json.loads(arguments["report_settings"])["config"]["lineage"]
    place = source.data or f"data.dvc of {source.repository} at {source.revision or 'its working tree'}"
    data = data_version(source.repository, source.revision, source.data)
    rows = [
        ("would run", f"recipe {lineage.pop('recipe')}, registered model {name}"),
        ("data", f"{place}, md5 {data.md5}, changed {data.time or 'at a time that is not known'}"),
    ]
    if source.test:
        rows.append(("test data", f"md5 {version(source.test)}"))
    rows += [("registry", tracking_uri()), ("champion", _champion(name) or "none")]
    rows += [(key.replace("_", " "), value) for key, value in lineage.items()]
    for step in CONFIGURED:
        rows.append((step, canonical_json(json.loads(arguments[f"{step}_settings"])["config"])))
    return "\n".join(f"{title:<10} {value}" for title, value in rows)


def _champion(name: str) -> str | None:
    """Return who is champion, without making a registry where there is none."""
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (home() / "mlflow.db").is_file():
        return None
    record = champion_record(connect(), name)
    return record.label if record else None
