"""Data that lie elsewhere, `s3://bucket/path` or a hub id: what version they are, and a copy of them.

A hub id is `org/name`, `org/name:split` or `org/name@revision:config/split`. Credentials and endpoints are those of the
AWS and Hugging Face tools (`AWS_ENDPOINT_URL`, `HF_TOKEN` and the like).
"""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from rewardlab.config import canonical_json
from rewardlab.rows import suffix
from steps.common.data_files import SUFFIXES, data_md5

_S3 = "s3://"
_HUB = re.compile(
    r"(?P<name>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?(?::(?:(?P<config>[\w.-]+)/)?(?P<split>[\w.-]+))?"
)


def is_remote(data: str) -> bool:
    """Say whether data are named by a place that is no path: `s3://`, or a hub id where no such path exists.

    Raises:
        ValueError: they are named by nothing, or by an address of another kind.
    """
    if data.startswith(_S3):
        return True
    if not data or "://" in data:
        raise ValueError(f"data are a path, s3://bucket/path or a hub id, got {data!r}: download them first")
    return bool(_HUB.fullmatch(data)) and not Path(data).exists() and suffix(Path(data)) not in SUFFIXES


def version(data: str) -> str:
    """Return an md5 that changes when the data do: DVC's of a path, else one of what the remote says of its contents.

    On S3 it is that of the objects' names, sizes and ETags; on the hub, of the commit and the part that is named.

    Raises:
        ValueError: there are no such data, they cannot be reached, or they would need remote code.
    """
    if data.startswith(_S3):
        return _md5(_objects(data)[1])
    if is_remote(data):
        name, parts = _named(data)
        return _md5([name, _commit(data), parts["config"], parts["split"]])
    if not Path(data).exists():
        raise ValueError(f"there is no data at {data}")
    return data_md5(Path(data))


def bring(data: str, target: Path) -> None:
    """Copy remote data into a folder, which is made.

    Raises:
        ValueError: as `version`, or a name would lead out of the folder.
    """
    target.mkdir(parents=True)
    if data.startswith(_S3):
        _bring_objects(data, target)
    else:
        name, parts = _named(data)
        load_hub(name, target, revision=_commit(data), config=parts["config"], split=parts["split"])


@contextmanager
def at_hand(data: str) -> Iterator[Path]:
    """Yield a path to the data: the path itself, or a copy of what is remote, for as long as the block lasts."""
    if not is_remote(data):
        yield Path(data)
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / PurePosixPath(data).name.replace(":", "-")
        bring(data, place)
        yield place


def load_hub(name: str, target: Path, *, revision: str | None, config: str | None, split: str | None) -> None:
    """Write one split of a data set as a Parquet file into a folder, without running code of the data set's.

    Raises:
        ValueError: it would need code, cannot be had, or has several parts of which none is named.
    """
    import datasets  # type: ignore[import-untyped]

    datasets.disable_progress_bars()
    where = {"revision": revision}
    try:
        configs = datasets.get_dataset_config_names(name, **where)
        config = config or _only(name, "configurations", configs, f"{name}:CONFIGURATION/SPLIT")
        splits = datasets.get_dataset_split_names(name, config, **where)
        split = split or _only(name, "splits", splits, f"{name}:SPLIT")
        loaded = datasets.load_dataset(name, config, split=split, **where)
        loaded.to_parquet(target / f"{split}.parquet")
    except RuntimeError as error:
        if "scripts are no longer supported" in str(error):
            raise ValueError(_remote_code(name)) from error
        raise ValueError(f"the data set {name!r} cannot be read: {error}") from error
    except OSError as error:
        raise ValueError(f"the data set {name!r} cannot be had: {error}") from error


def _only(name: str, what: str, found: list[str], form: str) -> str:
    if len(found) != 1:
        raise ValueError(f"the data set {name!r} has the {what} {', '.join(found)}: name one, as {form}")
    return found[0]


def _named(data: str) -> tuple[str, dict[str, str | None]]:
    found = _HUB.fullmatch(data)
    assert found, data
    return found["name"], found.groupdict()


def _commit(data: str) -> str:
    """Return the commit of a hub data set at this moment; refuse one that is made by code."""
    from huggingface_hub import HfApi

    name, parts = _named(data)
    try:
        found = HfApi().dataset_info(name, revision=parts["revision"])
    except OSError as error:  # every error of the hub's client is one
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"there is no path {data}, and no hub data set of that name can be had: {reason}") from error
    if f"{name.rpartition('/')[2]}.py" in {entry.rfilename for entry in found.siblings or ()}:
        raise ValueError(_remote_code(name))
    return str(found.sha)


def _remote_code(name: str) -> str:
    return (
        f"the data set {name!r} is made by code of its own, and remote code is never run: take the hub's Parquet copy, "
        f"{name}@refs/convert/parquet, if there is one, or download its files and give their path"
    )


def _objects(data: str) -> tuple[Any, dict[str, list[Any]]]:
    """Return the file system and, by key, size and ETag of the objects that are data files."""
    import botocore.exceptions  # type: ignore[import-untyped]
    import s3fs  # type: ignore[import-untyped]

    store = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
    try:
        found = store.find(data.removeprefix(_S3), detail=True)
    except (OSError, ValueError, botocore.exceptions.BotoCoreError) as error:
        raise ValueError(f"{data} cannot be read: {error}") from error
    wanted = {key: [about["size"], about["ETag"]] for key, about in found.items() if suffix(Path(key)) in SUFFIXES}
    if not wanted:
        raise ValueError(f"{data} holds no data: files end in {', '.join(SUFFIXES)} (or that and .gz)")
    return store, wanted


def _bring_objects(data: str, target: Path) -> None:
    store, found = _objects(data)
    root = data.removeprefix(_S3).rstrip("/")
    for key in found:
        inside = PurePosixPath(key.removeprefix(root).lstrip("/") or PurePosixPath(key).name)
        if ".." in inside.parts:
            raise ValueError(f"the object {key!r} leads out of {data}: rename it")
        (target / inside).parent.mkdir(parents=True, exist_ok=True)
        store.get_file(key, str(target / inside))


def _md5(value: Any) -> str:
    return hashlib.md5(canonical_json(value).encode(), usedforsecurity=False).hexdigest()
