"""What the DAOs of versioned rows share: rows created and changed by LWT, each version with the id of its write."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid4

from store_manager.dao import conditional
from store_manager.errors import OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cassandra.cqlengine.query import ModelQuerySet

    from store_manager.models.base import StoreModel

KeyT = TypeVar("KeyT", UUID, str)


def find(row: ModelQuerySet, *, serial: bool = False) -> Any:
    """Return the row or None, at the read level or at SERIAL."""
    return (row.consistency(conditional.SERIAL) if serial else row).first()


def insert(instance: StoreModel, row: ModelQuerySet) -> bool:
    """Create the row unless there is one; return whether it is this one (by its `change_id`)."""
    return conditional.apply(instance.if_not_exists().save, lambda: _wrote(row, instance.change_id))


def change(row: ModelQuerySet, version: int, values: dict[str, Any]) -> bool:
    """Write values and the next version if the row still has this version; return whether it had."""
    change_id = uuid4()
    guarded = row.iff(version=version)
    return conditional.apply(
        lambda: guarded.update(**values, version=version + 1, change_id=change_id),
        lambda: _wrote(row, change_id, version + 1),
    )


def _wrote(row: ModelQuerySet, change_id: UUID, version: int = 1) -> bool:
    found = find(row, serial=True)
    return found is not None and is_of(found, change_id, version)


def is_of(row: Any, change_id: UUID, version: int) -> bool:
    """Tell whether the write `change_id` made this version of the row; raise if later versions hide it."""
    if row.change_id == change_id:
        return True
    if row.version > version:
        raise OutcomeUnknown("The answer to a change was lost, and others have changed the same thing since.")
    return False


def split(keys: Iterable[KeyT], size: int) -> Iterator[list[KeyT]]:
    """Yield the distinct keys in lists of at most `size`, in their order."""
    distinct = iter(dict.fromkeys(keys))
    while part := list(islice(distinct, size)):
        yield part
