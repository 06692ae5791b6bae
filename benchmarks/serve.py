"""How fast and how steadily rewards are scored and served, beside what people use instead.

`python -m benchmarks.serve --json OUT [--quick] [--peers]`; with `--peers`, servers that cannot share our environment
are installed into virtual environments of their own and measured too, which takes minutes and gigabytes.
"""

import argparse
from pathlib import Path

from benchmarks import serve_engine
from benchmarks.harness import report


def main() -> None:
    """Measure and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--peers", action="store_true", help="install and measure other servers too")
    arguments = parser.parse_args()
    report(arguments.json, serve_engine.measure(quick=arguments.quick, peers=arguments.peers))


if __name__ == "__main__":
    main()
