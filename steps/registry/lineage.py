"""Where a version comes from: from the score it gave back to data, commit, image and IR, held against each other."""

from typing import Any

from rewardlab.layout import GATE_REPORT, MANIFEST
from rewardlab.promotion import ClientReader, alias_version, client_log, report_digest
from rewardlab.promotion.log import CHAMPION
from rewardlab.promotion.signing import signatures
from steps.registry.client import find_run, stored_json
from steps.registry.versions import registry

_MADE_FROM = ("data_md5", "git_commit", "image", "ir_digest", "recipe", "test_digest")


def lineage(reference: str, *, name: str) -> dict[str, Any]:
    """Return what is known of a version.

    Args:
        reference: a version, an alias, or the `NAME/VERSION` that a score is labelled with.
        name: the registered model of a bare version or alias.

    Raises:
        ValueError: there is no such version, or the stored bundle is not the one that was registered.
    """
    if "/" in reference:
        name, _, reference = reference.rpartition("/")
    with registry() as client:
        version = reference if reference.isdigit() else alias_version(ClientReader(client), name, reference)
        if version is None:
            raise ValueError(f"{name} has no alias {reference!r}: see `rewardlab models --name {name}`")
        log = client_log(client, name)
        registered = client.get_model_version(name, version)
        tags = registered.tags
        run = find_run(client, tags.get("run_id", ""))
        report = (stored_json(client, run, GATE_REPORT) if run else None) or {}
        digest = tags.get("bundle", "")
        manifest = stored_json(client, str(registered.run_id), f"bundles/{digest[:16]}/{MANIFEST}") or {}
    if manifest.get("digest") != digest:
        raise ValueError(f"{name}/{version} is not the bundle that was registered ({digest[:12]}): do not use it")
    return {
        "model": f"{name}/{version}",
        "aliases": sorted(alias for alias, at in log.projection().items() if at == version),
        "bundle": {"digest": digest, "made_from": manifest["lineage"], "versions": manifest["versions"]},
        "made_from": {key: tags.get(key) for key in _MADE_FROM},
        "run": {"run_id": tags.get("run_id"), "mlflow_run": run, "decision": tags.get("decision")},
        "gate": {
            "verdict": report.get("verdict"),
            "reason": report.get("reason"),
            "decided": report.get("decided"),
            "champion": report.get("champion"),
            "report": report_digest(report) if report else None,
            "signed": list(signatures(tags, report_digest(report))),
        },
        "promotions": [
            {"entry": log.number(entry), **{key: getattr(entry, key) for key in ("action", "by", "at", "report")}}
            for entry in log.accepted(CHAMPION)
            if entry.version == version
        ],
    }


def lineage_lines(found: dict[str, Any]) -> str:
    """Return a lineage as lines for a terminal."""
    gate, run = found["gate"], found["run"]
    rows = [
        ("model", " ".join([found["model"], *found["aliases"]])),
        ("bundle", found["bundle"]["digest"]),
        *((key.replace("_", " "), value or "unknown") for key, value in found["made_from"].items()),
        ("run", f"{run['run_id']}, in MLflow {run['mlflow_run']}"),
        ("gate", f"{gate['verdict']} ({gate['reason']}), against {gate['champion'] or 'no champion'}"),
        ("report", gate["report"] or "unknown"),
        *(("signed", signature) for signature in gate["signed"]),
        *(
            ("promotion", f"entry {each['entry']}: {each['action']}, {each['at']}, by {each['by']}")
            for each in found["promotions"]
        ),
    ]
    return "\n".join(f"{name:<12} {value}" for name, value in rows)
