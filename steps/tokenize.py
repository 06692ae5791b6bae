"""Render and tokenize the training and validation groups with the policy's own tokenizer."""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from rewardlab.config import Config
from rewardlab.files import atomic_path, parse_group, read_chunks, read_json, tree_digest, write_json
from rewardlab.readout import Pooling, ReadOut
from rewardlab.tokens import TreeTokenizer
from rewardlab.tokenstore import Packed, pack_trees, write_store
from steps.parallel import in_order


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeConfig(Config):
    """How text becomes tokens. `policy` names the model whose responses will be scored; its tokenizer must match.

    `aspects` name the labels that are kept, beside comparisons of no aspect: of the one head's objective, or of each
    aspect that has a head.
    """

    backbone: str
    pooling: Pooling = "last_token"
    prompt_limit: int = 512
    response_limit: int = 384
    aspects: tuple[str, ...] = ("gold",)
    policy: str = ""

    def __post_init__(self) -> None:
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
        ValueError: the backbone's tokenizer does not match the policy's, or cannot be read out unambiguously.
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
    with atomic_path(target) as scratch:
        scratch.mkdir()
        shutil.copyfile(backbone / "tokenizer.json", scratch / "tokenizer.json")
        write_json(scratch / "readout.json", readout.to_dict())
        work = partial(_tokenize, scratch, config.aspects)
        tally: Counter[str] = Counter()
        for name in ("train", "validation"):
            chunks = in_order(work, read_chunks(splits / f"{name}.jsonl.gz"), label=f"tokenize {name}")
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


def _tokenize(folder: Path, aspects: tuple[str, ...], lines: Sequence[bytes]) -> tuple[Packed, int]:
    """Return the trees of a chunk of groups, and how many responses were truncated."""
    tokenizer = _open(folder)
    groups = [parse_group(line) for line in lines]
    trees = [tokenizer.tree(group.prompt, group.responses) for group in groups]
    packed = pack_trees(zip(groups, trees, strict=True), aspects=aspects)
    return packed, sum(sum(tree.truncated) for tree in trees)


@lru_cache(maxsize=1)
def _open(folder: Path) -> TreeTokenizer:
    return TreeTokenizer(folder / "tokenizer.json", ReadOut.from_dict(read_json(folder / "readout.json")))
