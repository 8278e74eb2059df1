"""Idempotency keys: what a caller sends again finds its first outcome, from any process and after any restart.

There is no table of keys. A key and what it was sent to derive the id of what is made, and a digest of the request
stands in its row. So the row itself says whether the request was met before, whether it is at work, and what became of
it. Refusals that changed nothing leave no row and are decided again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from store_manager.errors import KeyInUse, KeyReused
from store_manager.services import clocks

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from uuid import UUID


@dataclass
class RequestKey:
    """The key of one request: the id that follows from it, the digest of the request, and how long one may be at work.

    `replayed` is set by the service that finds the first outcome again.
    """

    made_id: UUID
    digest: str
    lease: timedelta
    replayed: bool = False

    def recognise(self, digest: str | None) -> None:
        """Raise `KeyReused` unless the row that stands under this key was made by the same request."""
        if digest != self.digest:
            raise KeyReused("This idempotency key was used for another request; use a new one.")

    def check_lease(self, begun_at: datetime) -> None:
        """Raise `KeyInUse` while the first call, begun at this time (naive UTC), may still be at work."""
        if clocks.now() < begun_at + self.lease:
            raise KeyInUse("The first call under this idempotency key is still at work.")

    def replay(self) -> None:
        """Note that the first outcome was found again."""
        self.replayed = True


def digest_of(key: RequestKey | None) -> str | None:
    """Return the digest to be kept in the row that a request makes."""
    return None if key is None else key.digest
