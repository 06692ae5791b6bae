"""Look for secrets in what git tracks: `python -m tests.secrets`.

What looks like one and is none says so in its line: `pragma: allowlist secret`.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from detect_secrets import SecretsCollection
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).resolve().parent.parent
DIGESTS = ("HexHighEntropyString", "IPPublicDetector")
"""Find what is everywhere here and no secret: digests, and addresses of documentation."""
SKIPPED = (".lock", ".dir")
"""Files of nothing but digests."""


def tracked() -> list[Path]:
    """Return the files that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and not name.endswith(SKIPPED)]


def secrets(files: Iterable[Path]) -> Iterator[str]:
    """Yield where something looks like a secret, and what it looks like; nothing is asked of any server."""
    classes = get_mapping_from_secret_type_to_class().values()
    plugins = [{"name": each.__name__} for each in classes if each.__name__ not in DIGESTS]
    collection = SecretsCollection()
    with transient_settings({"plugins_used": plugins}):
        for path in files:
            collection.scan_file(str(path))
    for name, found in collection:
        if not re.fullmatch("[A-Z][A-Z_]*", found.secret_value or ""):  # a variable's name, or a place to fill in
            yield f"{name.removeprefix(f'{ROOT}/')}:{found.line_number}: {found.type}"


if __name__ == "__main__":
    leaks = list(secrets(tracked()))
    print("\n".join(leaks) or "secrets: none")
    sys.exit(bool(leaks))
