"""Name the benchmarks of a configuration by their absolute place and their version."""

from dataclasses import replace
from pathlib import Path

from steps.common.data_location import is_remote, version
from steps.validate.validate import ValidateConfig


def pinned(config: ValidateConfig) -> ValidateConfig:
    """Return the configuration with each benchmark's absolute place and the version of what lies there.

    Raises:
        ValueError: a benchmark is not there.
    """
    places = {
        place if is_remote(place) else str(Path(place).absolute()): md5 for place, md5 in config.benchmarks.items()
    }
    return replace(config, benchmarks={place: md5 or version(place) for place, md5 in places.items()})
