"""Name what is wrong with manifests: `python -m tests.manifests [FOLDER...]`, by default every overlay of deploy/."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.manifests.checked import OVERLAYS, problems
from tests.manifests.manifests import render


def main(folders: Sequence[str]) -> int:
    """Print what is wrong with folders that kustomize renders, and return the exit code."""
    broken = 0
    for folder in map(Path, folders) if folders else OVERLAYS:
        try:
            objects = render(folder)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        found = problems(objects)
        for rule, places in found.items():
            print(f"{folder}: {rule}: {'; '.join(places)}")
        if not found:
            print(f"{folder}: {len(objects)} objects hold all rules")
        broken += bool(found)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
