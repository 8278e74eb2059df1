"""The users' rows. Which state follows which is decided by the services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from store_manager.dao import rows
from store_manager.models.marks import names_on_change
from store_manager.models.users import User

if TYPE_CHECKING:
    from collections.abc import Iterable

READ_TOGETHER = 50
"""How many users one statement reads: bounded, so that no coordinator gathers too much."""

CHANGEABLE = (*names_on_change(User), "pending_email", "state", "updated_at")
"""All columns that can change, so that every change is one statement shape."""


def insert(user: User) -> bool:
    """Write a new user whole; return whether it is this one that stands under its id.

    Consistency: LWT. Safe to send again. Partition: (user_id).
    """
    return rows.insert(user, User.objects(user_id=user.user_id))


def find(user_id: UUID, *, serial: bool = False) -> User | None:
    """Return the user in whatever state, or None.

    Consistency: the read level, or SERIAL when asked. Idempotent. Partition: (user_id).
    """
    found: User | None = rows.find(User.objects(user_id=user_id), serial=serial)
    return found


def find_many(user_ids: Iterable[UUID]) -> dict[UUID, User]:
    """Return those of these users that exist, in whatever state, by id.

    Consistency: the read level. Idempotent. Partitions: each (user_id), `READ_TOGETHER` a statement.
    """
    found: dict[UUID, User] = {}
    for ids in rows.split(user_ids, READ_TOGETHER):
        found.update({row.user_id: row for row in User.objects(user_id__in=ids).limit(None)})
    return found


def change(user: User, values: dict[str, Any]) -> bool:
    """Write all that can change of a user, if it still has the version that was read; return whether it had.

    Consistency: LWT on `version`. Safe to send again. Partition: (user_id).
    """
    changeable = {name: getattr(user, name) for name in CHANGEABLE}
    return rows.change(User.objects(user_id=user.user_id), user.version, changeable | values)


def rehearse() -> None:
    """Run each query of this module once, so that its statements are prepared."""
    user = User(user_id=uuid4(), version=1, change_id=uuid4())
    insert(user)
    find(user.user_id)
    find(user.user_id, serial=True)
    list(User.objects(user_id__in=[user.user_id]).limit(None))
    change(user, {})
