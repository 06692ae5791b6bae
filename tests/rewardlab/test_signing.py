"""Signed bundles: what a key's owner signed opens, and nothing else does."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

import rewardlab
from rewardlab.bundle import MANIFEST, Bundle, seal
from rewardlab.files import read_json
from rewardlab.signing import SIGNATURE, sign
from serving.__main__ import main


def keys(folder: Path) -> tuple[Path, Path]:
    """Return the files of a new private key and of its public one."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "key.pem", folder / "key.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_what_a_key_signed_opens_wherever_it_lies(bundle: Path, tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    sign(bundle, private)
    elsewhere = bundle.rename(tmp_path / "elsewhere")
    assert Bundle.open(elsewhere, verify_key=public).digest == Bundle.open(elsewhere).digest
    assert len(rewardlab.load(str(elsewhere), verify_key=public).score("Hi", ["a", "b"])) == 2


def test_what_nobody_signed_or_somebody_else_did_is_refused(bundle: Path, tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    with pytest.raises(ValueError, match="is not signed"):
        Bundle.open(bundle, verify_key=public)
    sign(bundle, private)
    _, other = keys(tmp_path)
    for key in (other, tmp_path / "missing.pub", bundle / MANIFEST):
        with pytest.raises(ValueError, match="does not hold"):
            Bundle.open(bundle, verify_key=key)


@pytest.mark.parametrize("change", ["golden.jsonl", MANIFEST, SIGNATURE, "one more file"])
def test_what_was_changed_and_sealed_again_is_refused(change: str, bundle: Path, tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    sign(bundle, private)
    signature = (bundle / SIGNATURE).read_bytes()
    (bundle / SIGNATURE).unlink()
    if change == "golden.jsonl":
        (bundle / change).write_bytes((bundle / change).read_bytes() + b"\n")
    facts = {"licence": "another"} if change == MANIFEST else {}
    seal(bundle, read_json(bundle / MANIFEST) | facts)
    Bundle.open(bundle)
    (bundle / SIGNATURE).write_bytes(signature[:-9] if change == SIGNATURE else signature)
    if change == "one more file":
        (bundle / "weights.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match="does not hold"):
        Bundle.open(bundle, verify_key=public)


def test_a_key_that_cannot_sign_is_named(bundle: Path, tmp_path: Path) -> None:
    _, public = keys(tmp_path)
    with pytest.raises(ValueError, match="cannot be signed with"):
        sign(bundle, public)
    assert not (bundle / SIGNATURE).exists()


def test_without_the_extra_nothing_that_must_be_signed_opens(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys(tmp_path)
    sign(bundle, private)
    for name in [name for name in sys.modules if name.startswith("model_signing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(ValueError, match="the extra `sign`"):
        Bundle.open(bundle, verify_key=public)


def test_a_server_that_wants_a_signature_does_not_start_without(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, public = keys(tmp_path)
    assert main(["--bundle", str(bundle), "--port", "0", "--verify-key", str(public)]) == 1
    assert "is not signed" in capsys.readouterr().err


def test_model_signings_own_command_agrees(bundle: Path, tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    sign(bundle, private)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(bundle)]
    command += ["--signature", str(bundle / SIGNATURE), "--public_key", str(public)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    (bundle / "golden.jsonl").write_text("")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
