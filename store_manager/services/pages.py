"""Pages of a listing: the keys are walked newest first, what they name is read, and what does not fit is left out."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Generic, TypeVar

from store_manager.dao import listings
from store_manager.errors import FieldError, RequestInvalid

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

T = TypeVar("T")

MOST_EXAMINED = 500
"""How many keys and buckets one page examines, or a few more: what finds little answers a short page with a cursor."""

POSITION = re.compile(
    r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d\.\d{3}Z/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})?"
)


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a collection; `next` is the cursor of the part that follows, or None at the end."""

    items: list[T]
    next: str | None


def encode(position: str) -> str:
    """Make an opaque cursor of a position."""
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode(cursor: str | None, pattern: re.Pattern[str] = POSITION) -> str | None:
    """Return the position in a cursor; raises `RequestInvalid` for one that this store never gave."""
    if cursor is None:
        return None
    try:
        position = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        position = ""
    if not pattern.fullmatch(position) or not _starts_with_a_day(position):
        problem = FieldError("cursor", "is no cursor of this collection; take `next` of an answer, unchanged")
        raise RequestInvalid("The cursor is broken.", [problem])
    return position


def _starts_with_a_day(position: str) -> bool:
    if "-" not in position:
        return True
    try:
        date.fromisoformat(position[:10])
    except ValueError:
        return False
    return True


def _end_of(day: date) -> str | None:
    """Return the position that all of a day stands before."""
    return None if day == date.max else f"{day.isoformat()}T~"


def collect(
    table: listings.ListingTable,
    scope: str,
    read_many: Callable[[list[UUID]], dict[UUID, T]],
    *,
    cursor: str | None,
    limit: int,
    keep: Callable[[T], bool],
    since: date = date.min,
    until: date = date.max,
) -> Page[T]:
    """Return up to `limit` things of a listing that `keep` accepts, of the days `since` to `until`, newest first."""
    before, items, examined = decode(cursor) or _end_of(until), list[T](), 0
    while examined < MOST_EXAMINED:
        walk = listings.walk(table, scope, before=before, limit=limit, since=since)
        found = read_many([entry.key for entry in walk.entries])
        for entry in walk.entries:
            thing = found.get(entry.key)
            if thing is not None and keep(thing):
                items.append(thing)
            if len(items) == limit:
                more = walk.next is not None or entry is not walk.entries[-1]
                return Page(items, encode(entry.position) if more else None)
        if walk.next is None:
            return Page(items, None)
        before, examined = walk.next, examined + walk.asked + len(walk.entries)
    return Page(items, None if before is None else encode(before))
