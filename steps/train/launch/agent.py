"""torchrun on one machine, told by `launch`: `python -m steps.train.launch.agent NUM_PROCESSES MODULE ARGUMENTS`."""

import logging
import os
import sys
from pathlib import Path

from rewardlab.files import write_json
from steps.train.launch.torchrun import EXIT_CODES, REPORTS


def main(num_processes: str, module: str, *arguments: str) -> int:
    """Be torchrun, and leave the exit codes of the processes that failed."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the launcher tells what failed
    try:
        run.main(["--standalone", f"--nproc-per-node={num_processes}", "--module", module, *arguments])
    except ChildFailedError as error:
        codes = {str(rank): failure.exitcode for rank, failure in error.failures.items()}
        write_json(Path(os.environ[REPORTS]) / EXIT_CODES, codes)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
