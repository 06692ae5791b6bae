"""The look for secrets finds what it is for, and lets pass what is none."""

import random
import string
from pathlib import Path

from tests.secrets import ROOT, secrets, tracked


def made_up(start: str, length: int, letters: str = string.ascii_uppercase + string.digits) -> str:
    """Return a key that nobody has ever had, and that stands in no file."""
    return start + "".join(random.Random(0).choices(letters, k=length))


def test_keys_of_clouds_hubs_and_people_are_found(tmp_path: Path) -> None:
    leaks = {
        "AWS Access Key": f"key = '{made_up('AKIA', 16)}'",
        "GitHub Token": f"token: {made_up('ghp_', 36, string.ascii_letters)}",
        "Private Key": "-----BEGIN RSA " + "PRIVATE KEY-----",
        "Basic Auth Credentials": f"postgresql://somebody:{made_up('', 8)}@host/db",
        "Secret Keyword": f"password = '{made_up('', 12)}'",
    }
    for number, (kind, line) in enumerate(leaks.items()):
        path = tmp_path / f"leak{number}.py"
        path.write_text(f"first = 1\n{line}\n")
        assert f"{path}:2: {kind}" in list(secrets([path]))


def test_a_variables_name_and_what_says_that_it_is_none_pass(tmp_path: Path) -> None:
    path = tmp_path / "fine.py"
    path.write_text(f"password = 'POSTGRES_PASSWORD'\nkey = '{made_up('AKIA', 16)}'  # pragma: allowlist secret\n")
    assert list(secrets([path])) == []


def test_an_audit_is_asked_for_in_ci() -> None:
    assert "make audit" in (ROOT / ".ci" / "run").read_text("utf-8")
    assert "pip-audit --vulnerability-service osv" in (ROOT / "Makefile").read_text("utf-8")


def test_all_that_git_tracks_is_looked_at_but_files_of_digests() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in tracked()}
    assert {"Makefile", "deploy/base/registry/mlflow.yaml", "tests/secrets.py", "docs/deploy.md"} <= names
    assert "requirements/dev.lock" not in names
