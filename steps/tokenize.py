"""Render and tokenize the training and validation groups with the policy's own tokenizer."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rewardlab.config import Config
from rewardlab.files import atomic_path, read_groups, tree_digest, write_json
from rewardlab.groups import PreferenceGroup
from rewardlab.readout import Pooling
from rewardlab.tokens import TokenTree, TreeTokenizer
from rewardlab.tokenstore import TokenStore, write_store
from steps.progress import progress


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeConfig(Config):
    """How text becomes tokens. `policy` names the model whose responses will be scored; its tokenizer must match."""

    backbone: str
    pooling: Pooling = "last_token"
    prompt_limit: int = 512
    response_limit: int = 384
    aspect: str = "gold"
    policy: str = ""


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
    tokenizer = TreeTokenizer(backbone / "tokenizer.json", readout)
    with atomic_path(target) as scratch:
        scratch.mkdir()
        shutil.copyfile(backbone / "tokenizer.json", scratch / "tokenizer.json")
        write_json(scratch / "readout.json", readout.to_dict())
        truncated = [0]
        counts = {
            name: write_store(
                scratch / name, _trees(splits / f"{name}.jsonl.gz", tokenizer, truncated), aspect=config.aspect
            )
            for name in ("train", "validation")
        }
        num_tokens = sum(TokenStore(scratch / name).num_tokens for name in counts)
    return TokenizeReport(
        digest=tree_digest(target),
        num_train=counts["train"],
        num_validation=counts["validation"],
        num_tokens=num_tokens,
        num_truncated=truncated[0],
    )


def _trees(source: Path, tokenizer: TreeTokenizer, truncated: list[int]) -> Iterator[tuple[PreferenceGroup, TokenTree]]:
    with progress(0, f"tokenize {source.name}") as bar:
        for group in read_groups(source):
            tree = tokenizer.tree(group.prompt, group.responses)
            truncated[0] += sum(tree.truncated)
            bar.update()
            yield group, tree
