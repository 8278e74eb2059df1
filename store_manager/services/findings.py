"""What an audit finds: each kind of breach with its code, and how what is wrong is told from what is in flight.

No I/O: what is looked at stands in the audits of stocks, orders, claims and listings (`store_manager.services.audit`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from store_manager.services import clocks

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator
    from datetime import datetime, timedelta

    from store_manager.dao.scans import Page

T = TypeVar("T")
KeyT = TypeVar("KeyT")

LOOKS = 3
"""How often something that changes while it is looked at is looked at again."""


class Code(StrEnum):
    """What can be wrong. `docs/reference/audit.md` says of each what it means and how it is mended."""

    STOCK_HEADLESS = "STOCK_HEADLESS"
    STOCK_OUT_OF_BOUNDS = "STOCK_OUT_OF_BOUNDS"
    STOCK_BUSY = "STOCK_BUSY"
    BALANCE_WRONG = "BALANCE_WRONG"
    RESERVED_WRONG = "RESERVED_WRONG"
    MOVEMENT_MISSING = "MOVEMENT_MISSING"
    MOVEMENT_DOUBLE = "MOVEMENT_DOUBLE"
    MOVEMENT_RETURNED = "MOVEMENT_RETURNED"
    RESERVATION_DEAD = "RESERVATION_DEAD"
    RESERVATION_WRONG = "RESERVATION_WRONG"
    RESERVATION_LEFT = "RESERVATION_LEFT"
    FULFILMENT_WRONG = "FULFILMENT_WRONG"
    ROW_INCOMPLETE = "ROW_INCOMPLETE"
    ORDER_TOTAL_WRONG = "ORDER_TOTAL_WRONG"
    ORDER_LEFT = "ORDER_LEFT"
    CLAIM_MISSING = "CLAIM_MISSING"
    CLAIM_FOREIGN = "CLAIM_FOREIGN"
    CLAIM_DEAD = "CLAIM_DEAD"
    DRAFT_UNFINISHED = "DRAFT_UNFINISHED"
    DRAFT_ORPHANED = "DRAFT_ORPHANED"
    EMAIL_PENDING = "EMAIL_PENDING"
    LISTING_MISSING = "LISTING_MISSING"
    LISTING_DEAD = "LISTING_DEAD"
    BUCKET_UNANNOUNCED = "BUCKET_UNANNOUNCED"


class Severity(StrEnum):
    """Whether a finding is a breach, or may be the work of a request that is still under way."""

    WRONG = "wrong"
    IN_FLIGHT = "in flight"


@dataclass(frozen=True)
class Finding:
    """Something that is not as it must be: `what` says it, `where` names table and key.

    `mend` is what makes it right, None if there is no one right answer; `look_again` tells what is left then.
    """

    code: Code
    what: str
    where: str
    severity: Severity = Severity.WRONG
    mend: Callable[[], object] | None = field(default=None, compare=False, repr=False)
    look_again: Callable[[], list[Finding]] | None = field(default=None, compare=False, repr=False)
    repaired: bool = False

    @property
    def repairable(self) -> bool:
        """Whether there is one right answer."""
        return self.mend is not None

    @property
    def key(self) -> tuple[Code, str]:
        """What makes it the same finding when it is met again."""
        return self.code, self.where


@dataclass(frozen=True)
class Patience:
    """How long a request and its statements may live: what changed within that time may be in flight."""

    limit: timedelta

    def begin(self) -> datetime:
        """Return the time (naive UTC) from which on a change may still be in flight."""
        return clocks.now() - self.limit

    def judge(self, *changed_at: datetime | None) -> Severity:
        """Return how severe it is that something is not as it must be that was last changed at these times."""
        known = [moment for moment in changed_at if moment is not None]
        return Severity.IN_FLIGHT if known and max(known) >= self.begin() else Severity.WRONG


class Walk(ABC, Generic[T, KeyT]):
    """One walk of an audit over one table: each page is sifted at little cost, and what looks odd is looked at closely.

    A page may be old when it is sifted; what is looked at closely is read anew, at SERIAL where that matters.
    """

    name: str

    def __init__(self, patience: Patience) -> None:
        self.patience = patience

    @abstractmethod
    def pages(self) -> Iterator[Page[T]]:
        """Yield the table, page by page."""

    @abstractmethod
    def sift(self, items: list[T]) -> Iterable[KeyT]:
        """Return the keys of what must be looked at closely."""

    @abstractmethod
    def look(self, key: KeyT) -> list[Finding]:
        """Return what is not as it must be, whoever else is at work meanwhile."""

    def examine(self, items: list[T]) -> list[Finding]:
        """Return what is not as it must be of a page."""
        return [finding for key in dict.fromkeys(self.sift(items)) for finding in self._look(key)]

    def _look(self, key: KeyT) -> list[Finding]:
        look_again = partial(self.look, key)
        return [replace(finding, look_again=look_again) for finding in look_again()]

    def conclude(self) -> list[Finding]:
        """Return what could only be decided once all pages were examined."""
        return []


def look_steadily(
    read: Callable[[], T | None], stamp: Callable[[T], Hashable], judge: Callable[[T], list[Finding]]
) -> list[Finding]:
    """Judge something by what else is read, between two readings that find it unchanged.

    What does not exist, or changes each time, is at work: nothing is found.
    """
    for _ in range(LOOKS):
        before = read()
        found = [] if before is None else judge(before)
        if before is None or not found:
            return []
        after = read()
        if after is not None and stamp(after) == stamp(before):
            return found
    return []


def look_repeatedly(look: Callable[[], list[Finding]]) -> list[Finding]:
    """Return what is found each time."""
    found = look()
    for _ in range(LOOKS - 1):
        if not found:
            break
        again: dict[Any, Finding] = {one.key: one for one in look()}
        found = [again[one.key] for one in found if one.key in again]
    return found
