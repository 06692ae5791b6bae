"""Run the committed IR on this machine, a process or a container a step, with the same components as a cluster."""

import json
import logging
import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.code_digest import ROOT, git_commit, source_digest
from pipelines.ir import GOLDEN, ir_digest, ir_in
from pipelines.local.record import Recorder, evidence
from pipelines.local.run_output import RunOutput
from pipelines.recipes import Recipe, named
from rewardlab.config import Config, settings_config, settings_json
from rewardlab.files import read_json, tree_digest, write_json
from rewardlab.home import DEFAULT_NAME, backbones, home, tracking_uri
from rewardlab.layout import RECIPE, SUMMARY
from rewardlab.reports import Summary
from steps.common.run_record import RUN_FOLDER
from steps.fetch import FetchConfig
from steps.register import RegisterConfig
from steps.report import ReportConfig, conclude
from steps.resolve import ResolveConfig
from steps.validate import pinned

if TYPE_CHECKING:
    from pipelines.local.containers import Containers

QUIET = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source(Config):
    """The data of a run: a path, or a DVC revision of the repository where the path is empty; and test data, if any.

    `remote` is where the repository's data are stored, by default where it says itself.
    """

    data: str = ""
    test: str = ""
    repository: str = str(ROOT)
    revision: str = ""
    remote: str = ""


def run(
    recipe: Recipe, source: Source, *, name: str, cache: bool = True, containers: "Containers | None" = None
) -> Summary:
    """Run the pipeline and return the summary that is also in `runs/ID/summary.json`.

    Args:
        recipe: the configuration of every step.
        source: which data.
        name: the registered model.
        cache: whether finished steps are reused.
        containers: where each step gets a container; without, it gets a process here.
    """
    recipe = named(recipe, name)
    run_id = new_run_id(recipe)
    run_folder = Path("runs").absolute() / run_id
    with _environment({"REWARDLAB_IMAGE": containers.image} if containers else {}):
        arguments = pipeline_arguments(recipe, source, run_id=run_id, run_folder=str(run_folder), resume=cache)
    write_json(run_folder / RECIPE, recipe.to_dict())
    _point_latest(run_folder)
    try:
        output = RunOutput(run_folder, sys.stderr)
        places = {"REWARDLAB_HOME": str(home()), "MLFLOW_TRACKING_URI": tracking_uri(), RUN_FOLDER: str(run_folder)}
        with ExitStack() as stack:
            stack.enter_context(output)
            stack.enter_context(_environment({**QUIET, **places}))
            stack.enter_context(redirect_stdout(output))
            stack.enter_context(_logged(output))
            stack.enter_context(Recorder(run_folder, output).following())
            runner, ir = stack.enter_context(_runner(containers, arguments, run_folder))
            _execute(runner, ir, arguments, cache=cache)
    finally:
        summary = run_folder / SUMMARY
        if not summary.is_file() or read_json(summary)["decision"] == "failed":
            known = settings_config(ReportConfig, arguments["report_settings"], run_id=run_id)
            conclude(known, run_folder, evidence(run_folder))
    return Summary.from_dict(read_json(summary))


def new_run_id(recipe: Recipe) -> str:
    """Return an id that sorts by time and names the recipe."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{recipe.name}-{secrets.token_hex(2)}"


def pipeline_arguments(
    recipe: Recipe, source: Source, *, run_id: str, run_folder: str, resume: bool = True, ir: Path = GOLDEN
) -> dict[str, str]:
    """Return the arguments of the compiled pipeline `ir`: each step's configuration and the digest of its code.

    Unless it may resume, training is marked: its own retries find its checkpoints, and no other does.
    """
    place, name = source.to_dict(), recipe.registered_name
    lineage = {
        "recipe": recipe.name,
        "git_commit": git_commit(),
        "ir_digest": ir_digest(ir),
        "image": os.environ.get("REWARDLAB_IMAGE", "local"),
    }
    configs = recipe.step_configs()
    configs["validate"] = pinned(recipe.validate)
    configs["fetch"] = FetchConfig(data_md5="", **place)
    del place["remote"]  # where data are stored does not change which they are
    configs["resolve"] = ResolveConfig(name=name, **place)
    configs["register"] = RegisterConfig(name=name, run_id="", lineage=lineage, data_md5="")
    configs["report"] = ReportConfig(name=name, run_id="", lineage=lineage)
    codes = {step: code_digest(step, recipe) for step in configs}
    codes["train"] += "" if resume else f"+{secrets.token_hex(8)}"
    settings = {f"{step}_settings": settings_json(config, codes[step]) for step, config in configs.items()}
    return {"run_id": run_id, "run_folder": run_folder, **settings}


def default_name(data: str) -> str:
    """Return the registered model of a data set: named after the path's last folder and the file.

    Example:
        >>> default_name("/corpora/hh/harmless.jsonl.gz")
        'reward-model-hh-harmless'
    """
    if not data:
        return DEFAULT_NAME
    path = Path(data).absolute()
    place = f"{path.parent.name}-{path.name.lstrip('.').partition('.')[0]}"
    return f"{DEFAULT_NAME}-{re.sub(r'[^A-Za-z0-9_-]+', '-', place).strip('-')}"


def code_digest(step: str, recipe: Recipe) -> str:
    """Return the digest of a step's code, and of the backbone it reads where that is a folder that may change."""
    folder = Path(recipe.model.backbone)
    changing = f"+{tree_digest(folder)}" if step in ("tokenize", "train") and folder.is_dir() else ""
    return source_digest(f"steps.{step}") + changing


def _execute(runner: Any, ir: str, arguments: dict[str, str], *, cache: bool) -> None:
    from kfp import components, local

    local.init(
        runner=runner,
        pipeline_root=str(home() / "steps"),
        raise_on_error=False,
        enable_caching=cache,
        cache_root=str(home() / "cache"),
    )
    components.load_component_from_text(ir)(**arguments)


@contextmanager
def _runner(
    containers: "Containers | None", arguments: Mapping[str, str], run_folder: Path
) -> Iterator[tuple[Any, str]]:
    """Yield what runs the steps and their IR: processes here, or containers that ask the registry over HTTP."""
    from kfp import local

    if containers is None:
        yield local.SubprocessRunner(use_venv=False), GOLDEN.read_text("utf-8")
        return
    from pipelines.local.containers import container_runner, named_paths
    from pipelines.local.mlflow_server import registry_over_http

    write = [run_folder, home(), backbones()]
    read = named_paths([json.loads(text) for name, text in arguments.items() if name.endswith("_settings")])
    places = {"DOCKER_HOST": containers.address, "REWARDLAB_CACHE": str(backbones())}
    with registry_over_http(run_folder / "registry.log") as registry:
        places["MLFLOW_TRACKING_URI"] = registry
        with _environment(places), container_runner(containers, read=read, write=write) as runner:
            yield runner, ir_in(containers.image)


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set variables for this process and those it starts, such as the steps' one registry and home."""
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


@contextmanager
def _logged(output: RunOutput) -> Iterator[None]:
    """Send what kfp logs between tasks, such as cache hits, to the output too."""
    root = logging.getLogger()
    level, handler = root.level, logging.StreamHandler(output)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _point_latest(run_folder: Path) -> None:
    """Point `runs/latest` at the newest run, atomically."""
    fresh = run_folder.parent / f".latest-{run_folder.name}"
    fresh.symlink_to(run_folder.name)
    fresh.replace(run_folder.parent / "latest")
