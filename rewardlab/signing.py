"""Signatures of bundles by OpenSSF's model-signing, with an elliptic key and without the network.

A signature covers every file of the folder, the manifest included. Keys are PEM files:
`openssl ecparam -name prime256v1 -genkey -noout -out key.pem && openssl ec -in key.pem -pubout -out key.pub`.
"""

from pathlib import Path
from typing import Any

SIGNATURE = "model.sig"


def sign(folder: Path, private_key: Path) -> None:
    """Write the signature of a sealed bundle into its folder.

    Raises:
        ValueError: the key cannot be used, or model-signing is not installed.
    """
    try:
        config = _signing().signing.Config().use_elliptic_key_signer(private_key=private_key)
        hashing = _signing().hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
        config.set_hashing_config(hashing).sign(folder, folder / SIGNATURE)
    except Exception as error:
        raise ValueError(f"{folder} cannot be signed with {private_key}: {error}") from error


def verify(folder: Path, public_key: Path) -> None:
    """Return if the folder holds exactly what the key's owner signed.

    Raises:
        ValueError: there is no signature, it is not this key's, a file differs, or it could not be checked.
    """
    if not (folder / SIGNATURE).is_file():
        raise ValueError(f"the bundle {folder} is not signed, and only what {public_key} signed is opened")
    try:
        config = _signing().verifying.Config().use_elliptic_key_verifier(public_key=public_key)
        config.verify(folder, folder / SIGNATURE)
    except Exception as error:  # whatever keeps it from being checked, this bundle must not score
        reason = str(error) or type(error).__name__
        raise ValueError(f"the signature of {folder} does not hold for {public_key}: {reason}") from error


def _signing() -> Any:
    try:
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except ModuleNotFoundError as error:
        raise ValueError(f"signatures need the extra `sign`, which has {error.name}") from error
    return model_signing
