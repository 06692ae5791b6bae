"""Signatures of people under the gate's report, and whether they are enough."""

from collections.abc import Mapping
from typing import Any

from rewardlab.promotion.entry import report_digest

APPROVED = "approved."
"""Begins the tag of a version that keeps one person's signature: the time, and the digest of the report they signed."""


class NotSignedError(ValueError):
    """The policy asks people to sign, and too few have."""


def signatures(tags: Mapping[str, str], digest: str) -> tuple[str, ...]:
    """Return who signed a report, each with the time, by the tags of its version.

    Example:
        >>> signatures({"approved.ada": "2026-11-25 0f", "approved.bob": "2026-11-25 another"}, "0f")
        ('ada 2026-11-25',)
    """
    found = {key.removeprefix(APPROVED): value.split() for key, value in tags.items() if key.startswith(APPROVED)}
    return tuple(f"{person} {said[0]}" for person, said in sorted(found.items()) if person and said[1:] == [digest])


def signed_off(report: Mapping[str, Any], tags: Mapping[str, str], label: str) -> tuple[str, ...]:
    """Return who signed a report, if they are as many as its policy asks for.

    Args:
        report: the gate's.
        tags: of the version that it is about.
        label: `NAME/VERSION`.

    Raises:
        ValueError: the report does not say whether people must sign.
        NotSignedError: too few have.
    """
    policy = report.get("policy")
    if not isinstance(policy, Mapping) or "sign_off" not in policy:
        raise ValueError(f"the report on {label} does not say whether people must sign: gate it again")
    signed, asked = signatures(tags, report_digest(report)), policy["sign_off"]
    if asked is not None and len(signed) < asked["people"]:
        name, version = label.split("/")
        raise NotSignedError(
            f"not signed off: {len(signed)} of {asked['people']} people have signed; who has read the report runs "
            f"`rewardlab approve {version} --name {name}`"
        )
    return signed
