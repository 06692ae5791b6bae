"""Where a version comes from: from the score it gave back to data, commit, image and IR, held against each other."""

from collections.abc import Mapping
from dataclasses import dataclass

from rewardlab.config import Report
from rewardlab.layout import GATE_REPORT, MANIFEST
from rewardlab.promotion import ClientReader, alias_version, client_log, report_digest
from rewardlab.promotion.log import CHAMPION
from rewardlab.promotion.signing import signatures
from steps.registry.client import find_run, stored_json
from steps.registry.versions import registry

_MADE_FROM = ("data_md5", "git_commit", "image", "ir_digest", "recipe", "test_digest")


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleLineage(Report):
    """What a bundle says of its own making."""

    digest: str
    made_from: Mapping[str, object]
    versions: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLineage(Report):
    """The run that registered a version."""

    run_id: str | None
    mlflow_run: str
    decision: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GateLineage(Report):
    """What the gate said of a version; `report` is the digest of that, and `signed` who has signed it."""

    verdict: str | None
    reason: str | None
    decided: str | None
    champion: str | None
    report: str | None
    signed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotionLineage(Report):
    """An entry of the promotion log by its number."""

    entry: int
    action: str
    by: str
    at: str
    report: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage(Report):
    """What is known of a version."""

    model: str
    aliases: tuple[str, ...]
    bundle: BundleLineage
    made_from: Mapping[str, str | None]
    run: RunLineage
    gate: GateLineage
    promotions: tuple[PromotionLineage, ...]


def lineage(reference: str, *, name: str) -> Lineage:
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
    gate = GateLineage(
        verdict=report.get("verdict"),
        reason=report.get("reason"),
        decided=report.get("decided"),
        champion=report.get("champion"),
        report=report_digest(report) if report else None,
        signed=signatures(tags, report_digest(report)),
    )
    promotions = tuple(
        PromotionLineage(entry=log.number(entry), action=entry.action, by=entry.by, at=entry.at, report=entry.report)
        for entry in log.accepted(CHAMPION)
        if entry.version == version
    )
    return Lineage(
        model=f"{name}/{version}",
        aliases=tuple(sorted(alias for alias, at in log.projection().items() if at == version)),
        bundle=BundleLineage(digest=digest, made_from=manifest["lineage"], versions=manifest["versions"]),
        made_from={key: tags.get(key) for key in _MADE_FROM},
        run=RunLineage(run_id=tags.get("run_id"), mlflow_run=run, decision=tags.get("decision")),
        gate=gate,
        promotions=promotions,
    )


def lineage_lines(found: Lineage) -> str:
    """Return a lineage as lines for a terminal."""
    gate, run = found.gate, found.run
    rows = [
        ("model", " ".join([found.model, *found.aliases])),
        ("bundle", found.bundle.digest),
        *((key.replace("_", " "), value or "unknown") for key, value in found.made_from.items()),
        ("run", f"{run.run_id}, in MLflow {run.mlflow_run}"),
        ("gate", f"{gate.verdict} ({gate.reason}), against {gate.champion or 'no champion'}"),
        ("report", gate.report or "unknown"),
        *(("signed", signature) for signature in gate.signed),
        *(
            ("promotion", f"entry {entry.entry}: {entry.action}, {entry.at}, by {entry.by}")
            for entry in found.promotions
        ),
    ]
    return "\n".join(f"{name:<12} {value}" for name, value in rows)
