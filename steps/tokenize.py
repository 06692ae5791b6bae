"""Render and tokenize the training and validation groups with the policy's own tokenizer."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from pathlib import Path

from rewardlab.config import Config
from rewardlab.files import atomic_path, parse_group, read_chunks, read_json, tree_digest, write_json
from rewardlab.groups import PreferenceGroup
from rewardlab.layout import READOUT, TOKENIZER, split_file
from rewardlab.readout import Pooling, ReadOut
from rewardlab.tokens import TokenTree, TreeTokenizer
from rewardlab.tokenstore import Packed, pack_trees, write_store
from steps.parallel import in_order
from steps.rewording import REWORDINGS
from steps.shards import Shard, load_arrays, results, save_arrays

STORES = ("train", "validation")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeSettings(Config):
    """What a recipe chooses besides the model. `policy` names the model whose responses will be scored.

    The policy's tokenizer must match. With `rewordings`, names of `steps.rewording`, each training group gets one
    response more, which rewords another.
    """

    policy: str = ""
    rewordings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if unknown := sorted({*self.rewordings} - {*REWORDINGS}):
            raise ValueError(f"there is no rewording {', '.join(unknown)}: choose {', '.join(REWORDINGS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeConfig(TokenizeSettings):
    """How text becomes tokens.

    `aspects` name the labels that are kept, beside comparisons of no aspect: of the one head's objective, or of each
    aspect that has a head. No group may take more than the `token_budget` of a micro-batch, which it must fit whole.
    """

    backbone: str
    pooling: Pooling = "last_token"
    prompt_limit: int = 512
    response_limit: int = 384
    token_budget: int = 8192
    aspects: tuple[str, ...] = ("gold",)

    def __post_init__(self) -> None:
        TokenizeSettings.__post_init__(self)
        if self.token_budget < 1:
            raise ValueError(f"token_budget is at least 1, got {self.token_budget}")
        if not self.aspects or len({*self.aspects}) != len(self.aspects):
            raise ValueError(f"aspects are one name or several different ones, got {list(self.aspects)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeReport(Config):
    """How much was tokenized."""

    digest: str
    num_train: int
    num_validation: int
    num_tokens: int
    num_truncated: int


def tokenize(config: TokenizeConfig, splits: Path, target: Path) -> TokenizeReport:
    """Write token stores `train` and `validation`, `tokenizer.json` and `readout.json`.

    Raises:
        ValueError: the backbone's tokenizer does not match the policy's, or cannot be read out unambiguously; a group
            takes more tokens than the budget, and the message names it.
    """
    with atomic_path(target) as scratch:
        _prepare(config, scratch)
        tally: Counter[str] = Counter()
        for name in STORES:
            work = partial(_tokenize, scratch, _of(config, name))
            chunks = (found for _, found in in_order(work, _chunks(splits, name), label=f"tokenize {name}"))
            tally[name] = write_store(scratch / name, _counted(chunks, tally), aspects=config.aspects)
    return _report(target, tally)


def tokenize_shard(config: TokenizeConfig, splits: Path, target: Path, shard: Shard) -> str:
    """Tokenize every n-th chunk of each part into a folder; return the digest of what was written.

    Raises:
        ValueError: as `tokenize`.
    """
    with atomic_path(target) as scratch:
        _prepare(config, scratch)
        for name in STORES:
            work = partial(_tokenize, scratch, _of(config, name))
            chunks = in_order(work, shard.of(_chunks(splits, name)), label=f"tokenize {name}")
            shard.write(scratch / name, (found for _, found in chunks), _save)
    return tree_digest(target)


def tokenize_shards(config: TokenizeConfig, parts: Sequence[Path], target: Path) -> TokenizeReport:
    """Write what `tokenize` would have written, from what the shards tokenized.

    Raises:
        ValueError: a shard is missing.
    """
    with atomic_path(target) as scratch:
        scratch.mkdir()
        for name in (TOKENIZER, READOUT):
            shutil.copyfile(parts[0] / name, scratch / name)
        tally: Counter[str] = Counter()
        for name in STORES:
            chunks = results([part / name for part in parts], _load, suffix=".npz")
            tally[name] = write_store(scratch / name, _counted(chunks, tally), aspects=config.aspects)
    return _report(target, tally)


def _report(target: Path, tally: Counter[str]) -> TokenizeReport:
    return TokenizeReport(
        digest=tree_digest(target),
        num_train=tally["train"],
        num_validation=tally["validation"],
        num_tokens=tally["tokens"],
        num_truncated=tally["truncated"],
    )


def _of(config: TokenizeConfig, store: str) -> TokenizeConfig:
    """Return how a store is tokenized: what is validated on is not reworded."""
    return config if store == "train" else replace(config, rewordings=())


def _chunks(splits: Path, name: str) -> Iterator[list[bytes]]:
    return read_chunks(splits / split_file(name))


def _prepare(config: TokenizeConfig, folder: Path) -> None:
    """Make the folder, with tokenizer and read-out.

    Raises:
        ValueError: the tokenizer does not match the policy's, or cannot be read out unambiguously.
    """
    from models.backbone import prepare_backbone
    from models.tokenizer import build_readout, check_policy

    backbone = prepare_backbone(config.backbone)
    if config.policy:
        check_policy(backbone, config.policy)
    readout = build_readout(
        backbone,
        pooling=config.pooling,
        prompt_limit=config.prompt_limit,
        response_limit=config.response_limit,
    )
    folder.mkdir()
    shutil.copyfile(backbone / TOKENIZER, folder / TOKENIZER)
    write_json(folder / READOUT, readout.to_dict())


def _counted(chunks: Iterable[tuple[Packed, int]], tally: Counter[str]) -> Iterator[Packed]:
    for packed, truncated in chunks:
        tally["tokens"] += len(packed.ids)
        tally["truncated"] += truncated
        yield packed


def _tokenize(folder: Path, config: TokenizeConfig, lines: Sequence[bytes]) -> tuple[Packed, int]:
    """Return the trees of a chunk of groups, and how many responses were truncated."""
    tokenizer = _open(folder)
    groups, originals = zip(*(reworded(parse_group(line), config.rewordings) for line in lines), strict=True)
    trees = [tokenizer.tree(group.prompt, group.responses) for group in groups]
    for group, tree in zip(groups, trees, strict=True):
        _check_budget(group.id, tree, config.token_budget, padded=tokenizer.readout.kind == "encoder")
    packed = pack_trees(zip(groups, trees, strict=True), aspects=config.aspects, originals=originals)
    return packed, sum(sum(tree.truncated) for tree in trees)


def reworded(group: PreferenceGroup, rewordings: Sequence[str]) -> tuple[PreferenceGroup, int]:
    """Return the group with one response more, which rewords another and is rated alike, and that one's index.

    Response and edit follow from the texts of the responses alone, so that prompts that share them stay alike. Where no
    edit changes the response, the group stays as it is, and the index is -1.
    """
    order = sorted(range(len(group.responses)), key=lambda at: _hash(group.responses[at]))
    first = _hash("\0".join(sorted(group.responses))) % max(1, len(rewordings))
    for name in (*rewordings[first:], *rewordings[:first]):
        text = REWORDINGS[name](group.responses[order[0]])
        if text not in group.responses:
            scores = {aspect: (*ratings, ratings[order[0]]) for aspect, ratings in group.scores.items()}
            return replace(group, responses=(*group.responses, text), scores=scores), order[0]
    return group, -1


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _check_budget(name: str, tree: TokenTree, budget: int, *, padded: bool) -> None:
    """Refuse a group that training could not take: an encoder reads it as padded sequences, others as one tree."""
    lengths = [len(response) for response in tree.responses]
    size = len(lengths) * (len(tree.prompt) + max(lengths)) if padded else len(tree.prompt) + sum(lengths)
    if size > budget:
        raise ValueError(
            f"group {name!r} takes {size} tokens, the budget is {budget}: raise token_budget, or lower prompt_limit or "
            "response_limit"
        )


@lru_cache(maxsize=1)
def _open(folder: Path) -> TreeTokenizer:
    return TreeTokenizer(folder / TOKENIZER, ReadOut.from_dict(read_json(folder / READOUT)))


def _save(path: Path, found: tuple[Packed, int]) -> None:
    packed, truncated = found
    arrays = {field.name: getattr(packed, field.name) for field in fields(packed) if field.name != "names"}
    save_arrays(path, arrays, names=packed.names, truncated=truncated)


def _load(file: Path) -> tuple[Packed, int]:
    arrays, facts = load_arrays(file)
    return Packed(names=facts["names"], **arrays), facts["truncated"]
