"""Break gate and registry in every small way and count what the fast tests see: `python -m tests.mutation`.

What is broken and which tests look is `[tool.mutmut]` in pyproject.toml. A break that makes a loop
endless is stopped by mutmut's time limit and counts as seen.
"""

import subprocess
import sys
from pathlib import Path

from rewardlab.files import read_json

SEEN_SHARE = 0.985
STATISTICS = Path("mutants") / "mutmut-cicd-stats.json"


def main() -> int:
    """Run mutmut; return 0 where the tests see so large a share of the breaks."""
    mutmut = str(Path(sys.executable).parent / "mutmut")
    subprocess.run([mutmut, "run", "--max-children", "2"], check=True, stdout=sys.stderr)
    subprocess.run([mutmut, "export-cicd-stats"], check=True, stdout=sys.stderr)
    counts = read_json(STATISTICS)
    seen = counts["killed"] + counts["timeout"]
    print(f"{seen} of {counts['total']} breaks are seen by the tests, {counts['timeout']} of them by the time limit")
    return 0 if seen >= SEEN_SHARE * counts["total"] else 1


if __name__ == "__main__":
    sys.exit(main())
