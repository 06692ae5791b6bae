"""Look at data before anything is trained on them: what `rewardlab validate` does."""

import tempfile
from pathlib import Path

from rewardlab.files import read_json
from rewardlab.layout import VALIDATION_REPORT
from rewardlab.reports import SampleReport, ValidationReport
from steps.common.data_location import at_hand
from steps.ingest import IngestConfig, ingest
from steps.validate import ValidateConfig, pinned, validate


def check_data(data: str, out: Path, reading: IngestConfig, config: ValidateConfig) -> ValidationReport:
    """Ingest data of any known format, validate them into the folder `out`, and return its `validation.json`.

    Raises:
        ValueError: the data or a benchmark cannot be read, or the data are refused; the message has the reasons.
    """
    with tempfile.TemporaryDirectory() as folder, at_hand(data) as place:
        ingest(reading, place, Path(folder) / "groups")
        validate(pinned(config), Path(folder) / "groups", out)
    return ValidationReport.from_dict(read_json(out / VALIDATION_REPORT))


def lines(found: ValidationReport, out: Path) -> str:
    """Return what a validation found as lines for a terminal."""
    rows = [f"{found.num_accepted} of {found.num_groups} groups accepted; {found.num_unreadable} rows unreadable"]
    rows += [f"  quarantined: {count} x {reason}" for reason, count in found.quarantined.items()]
    rows += [
        f"  benchmark {place}: {overlap.prompts} groups with its prompts, {overlap.responses} with its responses"
        for place, overlap in found.benchmarks.items()
    ]
    rows += _sample_lines(found.sample)
    unmet = [each for each in found.expectations if not each.success and each.column not in (None, "id")]
    rows += [f"  not met: {each.name} ({each.observed})" for each in unmet if each.name not in found.quarantined]
    return "\n".join([*rows, f"docs: {out / 'docs' / 'index.html'}"])


def _sample_lines(sample: SampleReport | None) -> list[str]:
    if sample is None:
        return []
    spoken = ", ".join(f"{name} {count}" for name, count in list(sample.languages.items())[:5])
    rows = [f"  sample of {sample.num}: languages {spoken or 'unknown'}"]
    if flips := sample.flips:
        power = flips.power
        rows.append(
            f"  labels: {flips.suspected} of {flips.num} look flipped; of flips planted in them "
            f"{power.recall:.2f} are found at precision {power.precision:.2f} (cross-fitted accuracy "
            f"{flips.accuracy:.2f})"
        )
    return rows
