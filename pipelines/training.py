"""The steps from data to a bundle as plain calls in one process: no cluster, no gate, no registry."""

from dataclasses import replace
from pathlib import Path

from pipelines.local import Source
from pipelines.recipes import Recipe
from steps.export import export
from steps.fetch import FetchConfig, fetch
from steps.ingest import ingest
from steps.remote import version
from steps.resolve import resolve_data
from steps.split import split
from steps.tokenize import tokenize
from steps.train import train
from steps.validate import validate


def train_bundle(recipe: Recipe, source: Source, out: Path) -> Path:
    """Write `data groups accepted splits tokens model bundle` into a folder and return the bundle's.

    Raises:
        ValueError: a step refuses its input.
    """
    md5 = resolve_data(source.repository, source.revision, source.data)
    test_md5 = version(source.test) if source.test else ""
    config = FetchConfig(data_md5=md5, test_md5=test_md5, **source.to_dict())
    data = fetch(config, out / "data")
    ingest(recipe.ingest, out / "data", out / "groups")
    validate(recipe.validate, out / "groups", out / "accepted")
    splits = split(recipe.split, out / "accepted", out / "splits")
    tokenize(recipe.tokenize, out / "splits", out / "tokens")
    model = train(recipe.train, out / "tokens", out / "model", state=out / "training")
    lineage = {"data": data.digest, "splits": splits.digest, "model": model.digest}
    sealing = replace(recipe.export, name=out.name)
    export(sealing, out / "model", out / "splits", out / "bundle", out / "export.json", lineage=lineage)
    return out / "bundle"
