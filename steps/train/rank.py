"""One of several processes that train together: `torchrun -m steps.train.rank CONFIG TOKENS TARGET STATE`."""

import sys
from pathlib import Path

from steps.train.config import TrainConfig
from steps.train.launch import reporting
from steps.train.marker import refuse_retry
from steps.train.train import fit


def main() -> None:
    """Train as the process that torchrun's environment names."""
    config, tokens, target, state = sys.argv[1:]
    with reporting():
        refuse_retry(Path(state))  # of nodes that are all started again
        fit(TrainConfig.from_json(config), Path(tokens), Path(target), state=Path(state))


if __name__ == "__main__":
    main()
