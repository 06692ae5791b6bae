"""Numbers that are pinned: `python -m tests.golden_values` records them again, `make golden` calls it."""

import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden" / "tiny.json"


def measure(folder: Path) -> dict[str, Any]:
    """Return token ids of a conversation, and losses and rewards of a tiny model before and after three steps."""
    import numpy as np
    import torch

    from models.backbone import prepare_backbone
    from models.batches import TokenGroup, collate
    from models.config import ModelConfig
    from models.losses import group_loss
    from models.reward_model import build_model
    from models.tokenizer import build_readout
    from rewardlab.groups import Comparison, messages
    from rewardlab.tokens import TreeTokenizer

    backbone = prepare_backbone("tiny", folder)
    readout = build_readout(backbone, pooling="last_token", prompt_limit=64, response_limit=64)
    tree = TreeTokenizer(backbone / "tokenizer.json", readout).tree(messages("What is 2 + 2?"), ["It is 4.", "Five."])
    model = build_model(ModelConfig(backbone="tiny"), backbone)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    prompt, *responses = (np.array(ids, dtype=np.int32) for ids in (tree.prompt, *tree.responses))
    entry = Comparison(better=0, worse=1, strength=0.8)
    pair = TokenGroup(id="a", prompt=prompt, responses=tuple(responses), comparisons=(entry,))
    batch = collate([pair], pad_id=readout.pad_id)
    losses = []
    for _ in range(3):
        loss = group_loss(model(batch.ids_BT, batch.lengths_B), batch.targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    rewards = model(batch.ids_BT, batch.lengths_B).tolist()
    return {"ids": [list(tree.sequence(index)) for index in range(2)], "losses": losses, "rewards": rewards}


def main() -> None:
    """Record the numbers with the versions that made them."""
    with tempfile.TemporaryDirectory() as folder:
        values = measure(Path(folder))
    values["versions"] = {name: version(name) for name in ("torch", "transformers", "tokenizers")}
    GOLDEN.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
