"""How often a sealed graph and fp32 agree on the best of n responses, on pools of `rewardlab make-data --pool`."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.harness import Row, parser, report
from rewardlab.engine.session import Session
from rewardlab.files import read_groups
from rewardlab.groups import PreferenceGroup
from rewardlab.layout import MODEL, TOKENIZER
from rewardlab.tokens import TreeTokenizer

_ROW = 3
SIZES = (4, 16, 256)


def measure(model: Path, bundle: Path, pools: Sequence[PreferenceGroup]) -> list[Row]:
    """Return the agreement for each n: a pool is cut at random into groups of n, each with a best response to either.

    Args:
        model: the trained checkpoint, of which the fp32 graph is written.
        bundle: what was sealed of it in fewer bits.
        pools: prompts with many responses.
    """
    from models.checkpoint import load_model
    from steps.export.graph import write_onnx

    trained, _, readout = load_model(model)
    reader = TreeTokenizer(model / TOKENIZER, readout)
    same: dict[int, list[bool]] = {size: [] for size in SIZES}
    lost: dict[int, list[float]] = {size: [] for size in SIZES}
    with TemporaryDirectory() as folder:
        write_onnx(trained, Path(folder) / MODEL, has_aspects=bool(readout.aspects))
        graphs = [Session(place / MODEL, pad_id=readout.pad_id) for place in (Path(folder), bundle)]
        for pool in pools:
            tree = reader.tree(pool.prompt, pool.responses)
            wide, narrow = (graph.run([tree]) for graph in graphs)
            order = np.random.default_rng(0).permutation(len(wide))
            for size in SIZES:
                for group in order[: len(order) // size * size].reshape(-1, size):
                    best, taken = wide[group].max(), wide[group][np.argmax(narrow[group])]
                    same[size].append(bool(taken == best))
                    lost[size].append(float((best - taken) / wide.std()))
    return [
        Row(
            row=_ROW,
            name=f"the same best of {size}, {len(same[size])} groups",
            value=float(np.mean(same[size])),
            unit="",
            status="met",
            why=f"by fp32 what is taken is {np.mean(lost[size]):.4f} of the rewards' s.d. below the best",
        )
        for size in SIZES
        if same[size]
    ]


if __name__ == "__main__":
    options = parser(__doc__ or "")
    options.add_argument("--model", type=Path, required=True, help="checkpoint that the bundle was exported from")
    options.add_argument("--bundle", type=Path, required=True, help="bundle in fewer bits")
    options.add_argument("--data", type=Path, required=True, help="groups of many responses")
    given = options.parse_args()
    pools = list(read_groups(given.data))
    report(given.json, measure(given.model, given.bundle, pools[:1] if given.quick else pools))
