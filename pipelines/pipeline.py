"""The life cycle of a reward model as one Kubeflow pipeline.

1. `resolve` what data and champion are at this moment (never reused), 2. `fetch` the data, 3. `ingest` it into
preference groups, 4. `validate` and quarantine, 5. `split` by family, 6. `tokenize`, 7. `train`, 8. `export` and seal
the bundle, 9. `evaluate` and 10. `audit` it, 11. `gate` it, 12. `register` it whatever the verdict, 13. `promote` it if
the gate says true. `report` writes how it ended, however it ended.
"""

import functools
import inspect
from typing import Any

from kfp import dsl
from kfp.dsl.pipeline_context import Pipeline

from components.audit import audit
from components.evaluate import evaluate
from components.export import export
from components.fetch import fetch
from components.gate import gate
from components.ingest import ingest
from components.promote import promote
from components.register import register
from components.report import report
from components.resolve import resolve
from components.shards import evaluate_shard, ingest_shard, tokenize_shard, validate_shard
from components.split import split
from components.tokenize import tokenize
from components.train import train
from components.validate import validate
from components.whole import evaluate_whole, ingest_whole, tokenize_whole, validate_whole
from pipelines.profiles import Profile, place
from pipelines.sharding import over

NAME, DESCRIPTION = "reward-model", "Preference data to a promoted reward model."


def pipeline(profile: Profile) -> Any:
    """Return the pipeline with its steps placed as a profile says."""
    work = functools.partial(reward_model, profile.shards)

    @functools.wraps(reward_model)
    def placed(*parameters: Any) -> None:
        work(*parameters)
        place(profile, Pipeline.get_default_pipeline().tasks)

    placed.__signature__ = inspect.signature(work)  # type: ignore[attr-defined] # the pipeline's parameters
    return dsl.pipeline(name=NAME, description=DESCRIPTION)(placed)


def reward_model(  # noqa: PLR0913 (a pipeline's parameters are its interface)
    shards: int,
    run_id: str,
    run_folder: str,
    resolve_settings: str,
    fetch_settings: str,
    ingest_settings: str,
    validate_settings: str,
    split_settings: str,
    tokenize_settings: str,
    train_settings: str,
    export_settings: str,
    evaluate_settings: str,
    audit_settings: str,
    gate_settings: str,
    register_settings: str,
    report_settings: str,
) -> None:
    """Take preference data to a promoted reward model; `*_settings` are canonical JSON, see `settings_json`.

    Ingest, validate, tokenize and evaluate are done by as many `shards`; how many changes nothing that they write.
    A scheduled run has no `run_id` and no `run_folder` of its own: the cluster's id of the run stands in.
    """
    run = {"run_id": run_id, "job_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER}
    ending = report(settings=report_settings, run_folder=run_folder, **run).set_caching_options(False)
    with dsl.ExitHandler(ending):
        now = resolve(settings=resolve_settings).set_caching_options(False)
        md5s = {"data_md5": now.outputs["data_md5"], "test_md5": now.outputs["test_md5"]}
        champion = now.outputs["champion"]
        data = fetch(settings=fetch_settings, **md5s).outputs
        accepted = _accepted(shards, data, ingest_settings, validate_settings)
        splits = split(settings=split_settings, digest=accepted["Output"], accepted=accepted["accepted"]).outputs
        model = _model(shards, splits, tokenize_settings, train_settings)
        test = {"splits": splits["splits"], "splits_digest": splits["Output"]}
        made = {"digest": model["Output"], "model": model["model"], "data_md5": md5s["data_md5"]}
        sealed = export(settings=export_settings, **made, **test).outputs
        candidate = {"digest": sealed["Output"], "bundle": sealed["bundle"]}
        asked = {"settings": evaluate_settings, "champion": champion, **candidate, **test}
        measured = over(shards, evaluate, evaluate_shard, evaluate_whole, **asked)
        probed = audit(settings=audit_settings, **candidate, **test).outputs
        evidence = {
            "evaluation": measured["evaluation"],
            "findings": probed["findings"],
            "parity": sealed["parity"],
            "splits": splits["splits"],
        }
        about = {"digest": sealed["Output"], "champion": champion, "data_time": now.outputs["data_time"]}
        decided = gate(settings=gate_settings, **about, **evidence).set_caching_options(False)  # evidence grows old
        decision = decided.outputs["decision"]
        outcome = {"bundle": sealed["bundle"], "model": model["model"], "accepted": accepted["accepted"]}
        version = register(
            settings=register_settings,
            **run,
            data_md5=md5s["data_md5"],
            decision=decision,
            **outcome,
            **evidence,
        ).set_caching_options(False)
        with dsl.If(decided.outputs["Output"] == True, name="passed"):  # noqa: E712 (compiles to a condition)
            promote(label=version.output, champion=champion, decision=decision, **run).set_caching_options(False)


def _accepted(shards: int, data: Any, ingest_settings: str, validate_settings: str) -> Any:
    """Read the data and quarantine what is bad."""
    read = {"settings": ingest_settings, "digest": data["Output"], "data": data["data"]}
    groups = over(shards, ingest, ingest_shard, ingest_whole, **read)
    checked = {"settings": validate_settings, "digest": groups["Output"], "groups": groups["groups"]}
    return over(shards, validate, validate_shard, validate_whole, **checked)


def _model(shards: int, splits: Any, tokenize_settings: str, train_settings: str) -> Any:
    """Tokenize and train."""
    cut = {"settings": tokenize_settings, "digest": splits["Output"], "splits": splits["splits"]}
    tokens = over(shards, tokenize, tokenize_shard, tokenize_whole, **cut)
    return train(settings=train_settings, digest=tokens["Output"], tokens=tokens["tokens"]).outputs
