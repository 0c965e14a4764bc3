"""Whose a bucket, a prefix and a policy are: how the claim is written on each. Pure.

A bucket of a store's own carries the claim as a freeform tag, and once more in its metadata: tags are edited by hand
and by tag policies, and a bucket with data and without a claim would be nobody's. In a shared bucket the claim is an
object beside all prefixes, where no agent may write, and where the claims below and above a prefix are listed without
looking at anybody's data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.provisioner import Owner

TAG: Final = "locus-memory"
"""Key of the tag, and of the metadata; keys have at most 100 characters."""

CLAIMS: Final = ".locus-memory/claims/"
"""What the names of claims in a shared bucket begin with; no store's prefix may."""

_TAG_CHARACTERS: Final = 256
_CLAIM: Final = "claim.json"


def tag_of(owner: Owner) -> str:
    """Return the claim as the value of a tag.

    Raises:
        RefusedError: It is longer than a tag may be; two names of Kubernetes and two UIDs fit.
    """
    document = json.loads(owner.claim())[TAG]
    text = json.dumps(document, separators=(",", ":"))
    if len(text) > _TAG_CHARACTERS:
        raise RefusedError(
            ConditionReason.BACKEND_REFUSED,
            f"the claim of {owner} has {len(text)} characters, and values of OCI's tags at most {_TAG_CHARACTERS}: "
            "choose a shorter name for the cluster (--cluster)",
        )
    return text


def owner_of(tags: Mapping[str, str] | None) -> Owner | None:
    """Read a claim in tags or metadata; None where there is none."""
    text = (tags or {}).get(TAG)
    return Owner.from_claim(f'{{"{TAG}": {text}}}') if text else None


def claim_object(prefix: str) -> str:
    """Return the name of the object with the claim of a prefix."""
    return f"{CLAIMS}{prefix}{_CLAIM}"


def claimed_prefix(name: str) -> str:
    """Return the prefix that an object below `CLAIMS` is the claim of."""
    return name.removeprefix(CLAIMS).removesuffix(_CLAIM)


def above(prefix: str) -> tuple[str, ...]:
    """Return the prefixes that a prefix lies in, the longest first."""
    parts = prefix.split("/")[:-2]
    return tuple("/".join(parts[:end]) + "/" for end in range(len(parts), 0, -1))
