"""Unique values: how a claim is taken so that it survives a crash at any line.

The owner's row says first what it wants (a DRAFT with its SKU, a user's pending e-mail); then the claim is taken, which
is the point of commit; then the row says that it has it. A claim whose holder's row neither has nor wants the value is
dead and may be taken over; one whose holder still wants it is alive, and whoever meets it finishes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from store_manager.dao import claims, conditional
from store_manager.errors import Contended

if TYPE_CHECKING:
    from store_manager.models.claims import Claim

StandsBehind = Callable[[UUID], bool]
"""Tells whether a holder has or wants the value, after finishing what it left unfinished."""


def take(kind: str, value: str, holder_id: UUID, stands_behind: StandsBehind) -> UUID:
    """Claim a value for a holder whose row wants it already; return who holds it then, which may be another.

    A crash before this leaves a row that nobody sees; a crash after it is finished by whoever meets the claim.
    """
    for _ in conditional.pauses():
        claim_id = uuid4()
        if claims.take(kind, value, holder_id, claim_id):
            return holder_id
        claim = claims.find(kind, value)
        if claim is None:
            continue
        # The holder's own older claim is renewed: whoever thinks it dead then fails, for its id is gone.
        if claim.holder_id != holder_id and stands_behind(claim.holder_id):
            return UUID(str(claim.holder_id))
        if claims.take_over(claim, holder_id, claim_id):
            return holder_id
    raise Contended("Others keep claiming the same value; nothing was changed.")


def find_held(kind: str, value: str, holder_id: UUID) -> Claim | None:
    """Return the claim that this holder has on a value, to be given up once its row does not want it any more.

    It must be read before the row changes: should the holder claim the value anew meanwhile, that claim has another id
    and stays.
    """
    claim = claims.find(kind, value)
    return claim if claim is not None and claim.holder_id == holder_id else None


def give_up(claim: Claim | None) -> None:
    """Release a claim whose holder's row does not want the value any more; a crash before this leaves a dead claim."""
    if claim is not None:
        claims.release(claim)
