"""The life cycle of a reward model as one Kubeflow pipeline.

1. `resolve` what data and champion are at this moment (never reused), 2. `fetch` the data, 3. `ingest` it into
preference groups, 4. `validate` and quarantine, 5. `split` by family, 6. `tokenize`, 7. `train`, 8. `export` and seal
the bundle, 9. `evaluate` and 10. `audit` it, 11. `gate` it, 12. `register` it whatever the verdict, 13. `promote` it if
the gate says true. `report` writes how it ended, however it ended.
"""

import functools
from typing import Any

from kfp import dsl
from kfp.dsl.pipeline_context import Pipeline

from components.data import fetch, ingest, resolve, split, tokenize, validate
from components.decision import gate, promote, register
from components.evidence import audit, evaluate
from components.model import export, train
from components.report import report
from pipelines.profiles import Profile, place

NAME, DESCRIPTION = "reward-model", "Preference data to a promoted reward model."


def pipeline(profile: Profile) -> Any:
    """Return the pipeline with its steps placed as a profile says."""

    @functools.wraps(reward_model)
    def placed(*parameters: Any) -> None:
        reward_model(*parameters)
        place(profile, Pipeline.get_default_pipeline().tasks)

    return dsl.pipeline(name=NAME, description=DESCRIPTION)(placed)


def reward_model(  # noqa: PLR0913 (a pipeline's parameters are its interface)
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

    On a cluster there is no `run_id` and no `run_folder`: the cluster's own id of the run stands in.
    """
    run = {"run_id": run_id, "job_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER}
    ending = report(settings=report_settings, run_folder=run_folder, **run).set_caching_options(False)
    with dsl.ExitHandler(ending):
        now = resolve(settings=resolve_settings).set_caching_options(False)
        md5s = {"data_md5": now.outputs["data_md5"], "test_md5": now.outputs["test_md5"]}
        champion = now.outputs["champion"]
        data = fetch(settings=fetch_settings, **md5s).outputs
        groups = ingest(settings=ingest_settings, digest=data["Output"], data=data["data"]).outputs
        accepted = validate(settings=validate_settings, digest=groups["Output"], groups=groups["groups"]).outputs
        splits = split(settings=split_settings, digest=accepted["Output"], accepted=accepted["accepted"]).outputs
        tokens = tokenize(settings=tokenize_settings, digest=splits["Output"], splits=splits["splits"]).outputs
        model = train(settings=train_settings, digest=tokens["Output"], tokens=tokens["tokens"]).outputs
        test = {"splits": splits["splits"], "splits_digest": splits["Output"]}
        made = {"digest": model["Output"], "model": model["model"], "data_md5": md5s["data_md5"]}
        sealed = export(settings=export_settings, **made, **test).outputs
        candidate = {"digest": sealed["Output"], "bundle": sealed["bundle"]}
        measured = evaluate(settings=evaluate_settings, champion=champion, **candidate, **test).outputs
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
