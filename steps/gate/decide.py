"""Decide by every rule of the policy, and write the decision with the evidence of each."""

from dataclasses import dataclass
from pathlib import Path

from rewardlab.config import Config
from rewardlab.files import file_digest, write_json
from rewardlab.reports import GateDecision, Verdict
from steps.gate.evidence import Evidence
from steps.gate.policy import GateConfig
from steps.gate.rules import fresh_until, outcomes


@dataclass(frozen=True, kw_only=True, slots=True)
class GateReport(Config):
    """The verdict; `promote` is true only for `pass`."""

    digest: str
    verdict: Verdict
    reason: str

    @property
    def promote(self) -> bool:
        """Return whether the candidate may become champion."""
        return self.verdict == "pass"


def gate(config: GateConfig, evidence: Evidence, target: Path) -> GateReport:
    """Decide and write the decision with the evidence of every rule."""
    decided = decision(config, evidence)
    write_json(target, decided.to_dict())
    return GateReport(digest=file_digest(target), verdict=decided.verdict, reason=decided.reason)


def decision(config: GateConfig, evidence: Evidence) -> GateDecision:
    """Return the decision with the outcome of every rule.

    The champion's own bundle is `unchanged`, whatever the rules say: it is in charge already.
    """
    rules = tuple(outcomes(config, evidence))
    failed = [rule for rule in rules if rule.verdict != "pass"]
    champion = evidence.champion
    if champion and evidence.bundle == champion.bundle:
        verdict: Verdict = "unchanged"
        reason = f"the bundle is the champion's own ({champion.label})"
    elif failed:
        verdict, reason = "fail", "; ".join(f"{rule.name}: {rule.note}" for rule in failed)
    else:
        verdict, reason = "pass", f"all {len(rules)} rules hold"
    until = fresh_until(config.freshness, evidence) if config.freshness and verdict == "pass" else None
    return GateDecision(
        verdict=verdict,
        reason=reason,
        bundle=evidence.bundle,
        champion=champion.label if champion else "",
        test_digest=evidence.test_digest,
        decided=evidence.now.isoformat(timespec="seconds"),
        fresh_until=until.isoformat(timespec="seconds") if until else None,
        rules=rules,
        policy=config.to_dict(),
    )
