"""The bundle: a sealed folder that holds all it takes to score, and nothing that runs code."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from rewardlab.config import Config, canonical_json
from rewardlab.drift import Reference
from rewardlab.files import file_digest, read_json, write_json
from rewardlab.fingerprints import known
from rewardlab.groups import PreferenceGroup
from rewardlab.layout import CALIBRATION, FINGERPRINTS, GOLDEN, MANIFEST, MODEL, READOUT, TOKENIZER
from rewardlab.readout import ReadOut
from rewardlab.signing import verify

_IDENTITY = (MODEL, TOKENIZER, READOUT, CALIBRATION)
_FILES = (*_IDENTITY, GOLDEN, FINGERPRINTS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration(Config):
    """What the calibration split said of the finished ONNX model.

    P(a beats b) = sigmoid((r_a - r_b) / temperature). `quantiles` of the `num_rewards` rewards, `length_correlation`
    (the mean over prompts of Spearman's), `truncated` (a share) and `subsets` are what drift is measured from.
    """

    temperature: float
    mean: float
    sd: float
    quantiles: dict[str, float]
    num_comparisons: int
    num_rewards: int = 0
    length_correlation: float | None = None
    truncated: float | None = None
    subsets: dict[str, Reference] = field(default_factory=dict)

    @property
    def reference(self) -> Reference:
        """Return the distribution of the calibration rewards."""
        return Reference(mean=self.mean, sd=self.sd, quantiles=self.quantiles, num=self.num_rewards)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature is positive and finite, got {self.temperature}")
        if not (math.isfinite(self.mean) and math.isfinite(self.sd)):
            raise ValueError(f"the calibration rewards are not finite: mean {self.mean}, s.d. {self.sd}")


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle whose every file has been verified."""

    path: Path
    readout: ReadOut
    calibration: Calibration
    manifest: Mapping[str, Any]
    digest: str
    label: str

    @classmethod
    def open(cls, path: Path, label: str | None = None, *, verify_key: Path | None = None) -> Self:
        """Open a bundle and verify the sha256 of each file.

        Args:
            path: the bundle's folder.
            label: `NAME/VERSION` for replies; by default the manifest's name and the digest's beginning.
            verify_key: public key whose owner must have signed the folder as it is; by default nobody need.

        Raises:
            ValueError: the folder is no bundle, a file is missing or was changed, or a signature that must hold does
                not.
        """
        if not (path / MANIFEST).is_file():
            raise ValueError(f"{path} is not a bundle: it holds no {MANIFEST}")
        if verify_key:
            verify(path, verify_key)
        manifest = read_json(path / MANIFEST)
        for name in _FILES:
            wanted = manifest.get("files", {}).get(name, {}).get("sha256")
            if not (path / name).is_file() or file_digest(path / name) != wanted:
                raise ValueError(f"the bundle {path} is damaged: {name} is not what {MANIFEST} says; fetch it again")
        digest = _identity(manifest["files"][name]["sha256"] for name in _IDENTITY)
        if digest != manifest.get("digest"):
            raise ValueError(f"the bundle {path} is damaged: its digest is {digest}, not {manifest.get('digest')}")
        return cls(
            path,
            ReadOut.from_dict(read_json(path / READOUT)),
            Calibration.from_dict(read_json(path / CALIBRATION)),
            manifest,
            digest,
            label or f"{manifest['name']}/{digest[:12]}",
        )

    @property
    def contents(self) -> str:
        """Return the digest of every file, those included that decide no reward: golden texts and fingerprints."""
        return hashlib.sha256(canonical_json(self.manifest["files"]).encode()).hexdigest()

    def trained_on(self, groups: Sequence[PreferenceGroup]) -> list[str]:
        """Return the ids of the groups that the model was trained on, whole or two of their responses.

        Raises:
            ValueError: the bundle was sealed when fingerprints were of whole groups alone.
        """
        if self.manifest.get("fingerprints") != "pairs":
            raise ValueError(f"{self.label} does not say what it was trained on by pairs of responses: export it again")
        trained = np.load(self.path / FINGERPRINTS, allow_pickle=False)
        return [group.id for group in known(groups, trained)]


def seal(folder: Path, facts: Mapping[str, Any]) -> str:
    """Write the manifest of a finished bundle folder and return the bundle's digest.

    Args:
        folder: holds every file of a bundle but the manifest.
        facts: name, lineage, versions, parity and the like; `files` and `digest` are added.

    Raises:
        ValueError: the folder holds a file that is no part of a bundle, such as weights beside the ONNX graph.
    """
    if others := sorted({path.name for path in folder.iterdir()} - {*_FILES, MANIFEST}):
        raise ValueError(f"{', '.join(others)} in {folder} is no part of a bundle and would not be verified")
    digest = identity(folder)
    files = {
        name: {"sha256": file_digest(folder / name), "size": (folder / name).stat().st_size} for name in sorted(_FILES)
    }
    write_json(folder / MANIFEST, {**facts, "digest": digest, "files": files})
    return digest


def identity(folder: Path) -> str:
    """Return the digest of what decides a reward: ONNX, tokenizer, read-out and calibration."""
    return _identity(file_digest(folder / name) for name in _IDENTITY)


def _identity(digests: Iterable[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
