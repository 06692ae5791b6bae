"""The steps from data to a bundle as plain calls in one process: no cluster, no gate, no registry."""

import secrets
from pathlib import Path

from pipelines.local.run import Source, code_digest
from pipelines.recipes import Recipe, named
from rewardlab.config import settings_json
from rewardlab.home import training_state
from steps.common.data_location import version
from steps.export import export
from steps.fetch import FetchConfig, fetch
from steps.ingest import ingest
from steps.resolve import data_version
from steps.split import split
from steps.tokenize import tokenize
from steps.train import train
from steps.validate import pinned, validate


def train_bundle(recipe: Recipe, source: Source, out: Path, *, resume: bool = True) -> Path:
    """Write `data groups accepted splits tokens model bundle` into a folder and return the bundle's.

    If it may resume, a training of the same that was interrupted goes on, wherever it was to be written.

    Raises:
        ValueError: a step refuses its input.
    """
    recipe = named(recipe, out.name)
    md5 = data_version(source.repository, source.revision, source.data).md5
    test_md5 = version(source.test) if source.test else ""
    config = FetchConfig(data_md5=md5, test_md5=test_md5, **source.to_dict())
    data = fetch(config, out / "data")
    ingest(recipe.ingest, out / "data", out / "groups")
    validate(pinned(recipe.validate), out / "groups", out / "accepted")
    splits = split(recipe.split, out / "accepted", out / "splits")
    tokens = tokenize(recipe.tokenize_config(), out / "splits", out / "tokens")
    code = code_digest("train", recipe) + ("" if resume else f"+{secrets.token_hex(8)}")
    state = training_state(settings_json(recipe.train_config(), code), tokens.digest)
    model = train(recipe.train_config(), out / "tokens", out / "model", state=state)
    lineage = {"data": data.digest, "splits": splits.digest, "model": model.digest}
    sealing = recipe.export_config()
    export(sealing, out / "model", out / "splits", out / "bundle", out / "export.json", lineage=lineage)
    return out / "bundle"
