"""Component: what data and champion are at this moment."""

from typing import NamedTuple

from components import component


@component
def resolve(
    settings: str,
) -> NamedTuple("Resolved", [("data_md5", str), ("test_md5", str), ("data_time", str), ("champion", str)]):  # type: ignore[valid-type]
    """Turn a DVC revision or a path into md5s, and find the champion."""
    from rewardlab.config import settings_config
    from steps.common.run_record import recorded
    from steps.resolve import ResolveConfig, resolve

    with recorded():
        found = resolve(settings_config(ResolveConfig, settings))
        return (found.data_md5, found.test_md5, found.data_time, found.champion)
