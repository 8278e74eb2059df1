"""The claims of unique values. Who may take which claim is decided by the services."""

from __future__ import annotations

from uuid import UUID

from store_manager.dao import conditional
from store_manager.models.claims import Claim


def find(kind: str, value: str) -> Claim | None:
    """Return the claim of this value, or None.

    Consistency: SERIAL, so that an unfinished claim is finished first. Idempotent. Partition: (kind, value).
    """
    found: Claim | None = Claim.objects(kind=kind, value=value).consistency(conditional.SERIAL).first()
    return found


def take(kind: str, value: str, holder_id: UUID, claim_id: UUID) -> bool:
    """Claim a value that nobody holds; return whether this claim holds it.

    Consistency: LWT. Safe to send again: `claim_id` is new for each taking. Partition: (kind, value).
    """
    row = {"kind": kind, "value": value, "holder_id": holder_id, "claim_id": claim_id}
    return conditional.apply(lambda: Claim.if_not_exists().create(**row), lambda: _holds(kind, value, claim_id))


def take_over(dead: Claim, holder_id: UUID, claim_id: UUID) -> bool:
    """Replace a claim that its holder does not stand behind any more; return whether the new one holds.

    Consistency: LWT on the dead claim's id. Safe to send again: that id never comes back. Partition: (kind, value).
    """
    rows = Claim.objects(kind=dead.kind, value=dead.value).iff(claim_id=dead.claim_id)
    return conditional.apply(
        lambda: rows.update(holder_id=holder_id, claim_id=claim_id),
        lambda: _holds(dead.kind, dead.value, claim_id),
    )


def release(claim: Claim) -> bool:
    """Give a claim up, if it is still the one that was read; return whether it was.

    Consistency: LWT on the claim's id. Safe to send again: that id never comes back. Partition: (kind, value).
    """
    rows = Claim.objects(kind=claim.kind, value=claim.value).iff(claim_id=claim.claim_id)
    return conditional.apply(rows.delete, lambda: not _holds(claim.kind, claim.value, claim.claim_id))


def _holds(kind: str, value: str, claim_id: UUID) -> bool:
    claim = find(kind, value)
    return claim is not None and bool(claim.claim_id == claim_id)


def rehearse() -> None:
    """Run each query of this module once, so that its statements are prepared."""
    nil = UUID(int=0)
    find("", "")
    take("", "", nil, nil)
    claim = Claim(kind="", value="", holder_id=nil, claim_id=nil)
    take_over(claim, nil, nil)
    release(claim)
