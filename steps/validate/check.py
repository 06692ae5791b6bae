"""Run expectations over a table with Great Expectations, quietly, and read its verdicts."""

import logging
import math
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from rewardlab.reports import Expectation

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the report says of an expectation, and the numbers of the rows that fail it."""

    expectation: Expectation
    rows: tuple[int, ...]


class Checker:
    """An ephemeral Great Expectations context, so that its Data Docs show all that was checked."""

    def __init__(self) -> None:
        with quiet():
            import great_expectations as gx
            from great_expectations.data_context.types.base import ProgressBarsConfig

            self._context = gx.get_context(mode="ephemeral")
            self._context.variables.progress_bars = ProgressBarsConfig(globally=False)
            self._source = self._context.data_sources.add_pandas("preference groups")

    def check(self, name: str, table: "pd.DataFrame", expectations: list[Any]) -> list[Verdict]:
        """Return one verdict per expectation, but none about a column that holds nothing and is not critical."""
        measured = [each for each in expectations if each.meta["critical"] or table[each.column].notna().any()]
        with quiet():
            import great_expectations as gx

            batch = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
            suite = self._context.suites.add(gx.ExpectationSuite(name=name, expectations=measured))
            definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
            checkpoint = gx.Checkpoint(
                name=name,
                validation_definitions=[self._context.validation_definitions.add(definition)],
                result_format="COMPLETE",
            )
            (run,) = checkpoint.run(batch_parameters={"dataframe": table}).run_results.values()
        return [_verdict(result) for result in run.results]

    def write_docs(self, target: Path) -> None:
        """Copy the Data Docs to a folder."""
        with quiet():
            self._context.build_data_docs()
            (site,) = self._context.get_docs_sites_urls()
        index = Path(urlparse(str(site["site_url"])).path)
        shutil.copytree(index.parent, target)
        shutil.rmtree(index.parent)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Great Expectations from logging, from warning of its own deprecations and from calling home."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _verdict(result: Any) -> Verdict:
    """Read one result.

    Raises:
        ValueError: the expectation could not be evaluated.
    """
    config, found = result.expectation_config, result.result
    if result.exception_info.get("raised_exception"):
        raise ValueError(f"{config.meta['name']} could not be evaluated: {result.exception_info['exception_message']}")
    rows = tuple(map(int, found.get("unexpected_index_list") or ()))
    expectation = Expectation(
        name=config.meta["name"],
        column=config.kwargs.get("column"),
        success=bool(result.success),
        observed=_plain(found["observed_value"] if "observed_value" in found else found.get("unexpected_count")),
        critical=config.meta["critical"],
    )
    return Verdict(expectation, rows)


def _plain(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain
