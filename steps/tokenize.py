"""Render and tokenize the training and validation groups with the policy's own tokenizer."""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from rewardlab.config import Config
from rewardlab.files import atomic_path, parse_group, read_chunks, read_json, tree_digest, write_json
from rewardlab.groups import PreferenceGroup
from rewardlab.layout import READOUT, TOKENIZER, split_file
from rewardlab.readout import Pooling, ReadOut
from rewardlab.text import key64
from rewardlab.tokens import TokenTree, TreeTokenizer
from steps.common.parallel import in_order
from steps.common.rewording import REWORDINGS
from steps.common.tokenstore import Packed, pack_trees, write_store

STORES = ("train", "validation")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeSettings(Config):
    """What a recipe chooses besides the model. `policy` names the model whose responses will be scored.

    The policy's tokenizer must match. With `rewordings`, names of `steps.common.rewording`, each training group gets
    one response more, which rewords another.
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
    from models.backbone import prepare_backbone
    from models.tokenizer import build_readout, check_policy

    # 1) The backbone's tokenizer and read-out.
    backbone = prepare_backbone(config.backbone)
    if config.policy:
        check_policy(backbone, config.policy)
    readout = build_readout(
        backbone,
        pooling=config.pooling,
        prompt_limit=config.prompt_limit,
        response_limit=config.response_limit,
    )

    # 2) A store of each part. Only training groups are reworded.
    configs = {"train": config, "validation": replace(config, rewordings=())}
    tally: Counter[str] = Counter()
    with atomic_path(target) as scratch:
        scratch.mkdir()
        shutil.copyfile(backbone / TOKENIZER, scratch / TOKENIZER)
        write_json(scratch / READOUT, readout.to_dict())
        for name, part_config in configs.items():
            work = partial(_tokenize, scratch, part_config)
            chunks = in_order(work, read_chunks(splits / split_file(name)), label=f"tokenize {name}")
            tally[name] = write_store(scratch / name, _counted(chunks, tally), aspects=config.aspects)
    return TokenizeReport(
        digest=tree_digest(target),
        num_train=tally["train"],
        num_validation=tally["validation"],
        num_tokens=tally["tokens"],
        num_truncated=tally["truncated"],
    )


def _counted(chunks: Iterable[tuple[list[bytes], tuple[Packed, int]]], tally: Counter[str]) -> Iterator[Packed]:
    for _, (packed, truncated) in chunks:
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
    # 1. Choose the response, and the edit that is tried first.
    original = min(range(len(group.responses)), key=lambda at: key64(group.responses[at]))
    first = key64("\0".join(sorted(group.responses))) % max(1, len(rewordings))

    # 2. Take the first edit, from there on and around, whose text is a new one.
    for name in (*rewordings[first:], *rewordings[:first]):
        text = REWORDINGS[name](group.responses[original])
        if text in group.responses:
            continue
        scores = {aspect: (*ratings, ratings[original]) for aspect, ratings in group.scores.items()}
        return replace(group, responses=(*group.responses, text), scores=scores), original
    return group, -1


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
