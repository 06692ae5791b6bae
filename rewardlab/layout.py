"""The names of the files that steps, runs and bundles consist of.

Writers and readers in every room import them from here; `tests/rewardlab/test_layout.py` refuses a second spelling.
"""

from collections.abc import Mapping
from pathlib import Path

# A checkpoint of a backbone, as Hugging Face names its files, and a trained model.
BACKBONE_CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
WEIGHTS = "model.safetensors"
PRUNED = "pruned.json"
MODEL_CONFIG = "reward_model.json"
READOUT = "readout.json"

# A bundle.
MODEL = "model.onnx"
CALIBRATION = "calibration.json"
GOLDEN = "golden.jsonl"
FINGERPRINTS = "fingerprints.npy"
MANIFEST = "manifest.json"

# Groups, and what was left out of them.
GROUPS = "groups.jsonl.gz"
UNREADABLE = "unreadable.jsonl"
QUARANTINE = "quarantine.jsonl"
FLAGGED = "flagged.jsonl"
SUSPECTED = "suspected.jsonl"
DROPPED = "dropped.jsonl"

# Reports that steps write into their folder.
INGEST_REPORT = "ingest.json"
VALIDATION_REPORT = "validation.json"
SPLIT_REPORT = "split.json"
TRAINING_REPORT = "training.json"

# A run's folder, `runs/ID`.
RECIPE = "recipe.json"
LOG = "log.txt"
RUN_RECORD = "steps.json"
STEP_ERROR = "error.txt"
SUMMARY = "summary.json"
PAGE = "report.html"
CARD = "model_card.md"

REPORTS: Mapping[str, tuple[str, str]] = {
    "evaluation": ("evaluation", ""),
    "audit": ("findings", ""),
    "gate": ("decision", ""),
    "validation": ("accepted", VALIDATION_REPORT),
    "split": ("splits", SPLIT_REPORT),
    "training": ("model", TRAINING_REPORT),
    "export": ("parity", ""),
}
"""The reports of a run by name: the artifact that holds each, and the file in it where the artifact is a folder."""


def split_file(part: str) -> str:
    """Return the name of the file that holds the groups of a part of the split.

    Example:
        >>> split_file("test")
        'test.jsonl.gz'
    """
    return f"{part}.jsonl.gz"


TRAIN, CALIBRATION_GROUPS, TEST = split_file("train"), split_file("calibration"), split_file("test")


def report_file(name: str) -> str:
    """Return where a run keeps a report, in its folder and with its MLflow run.

    Example:
        >>> report_file("gate")
        'reports/gate.json'
    """
    return f"{REPORTS_FOLDER}/{name}.json"


REPORTS_FOLDER = "reports"
GATE_REPORT = report_file("gate")


def report_paths(artifacts: Mapping[str, str | Path]) -> dict[str, Path]:
    """Return the path of each report whose artifact is given.

    Example:
        >>> report_paths({"model": "/a", "parity": "/b", "bundle": "/c"})
        {'training': PosixPath('/a/training.json'), 'export': PosixPath('/b')}
    """
    return {
        name: Path(artifacts[artifact]) / file for name, (artifact, file) in REPORTS.items() if artifact in artifacts
    }
