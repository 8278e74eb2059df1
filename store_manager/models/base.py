"""The base of every Model: how rows are queried and written, and the limits that columns share.

No query stands here (`store_manager.dao`), no rule of the trade (`store_manager.services`).
"""

from __future__ import annotations

from copy import deepcopy

from cassandra.cqlengine.models import Model

from store_manager.database.querysets import StoreDMLQuery, StoreQuerySet

MAX_QUANTITY = 1_000_000_000
"""The most units that one request may name and that a product may have on hand."""

TABLE_OPTIONS: dict[str, str | int] = {"speculative_retry": "MIN(99p,50ms)"}
"""Every table's options: a coordinator asks a second replica after 50 ms, so that a hung one does not stall a read."""


class StoreModel(Model):
    """A Model whose inserts and updates have one statement shape each, whatever values are null."""

    __abstract__ = True
    __queryset__ = StoreQuerySet
    __dmlquery__ = StoreDMLQuery
    __options__ = TABLE_OPTIONS

    def _set_persisted(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 - cqlengine's own signature
        """Keep what is stored, to tell later what has changed; only a collection can change in place and needs a copy.

        cqlengine copies every value of every row that is read or written: more than half of the time that takes.
        """
        for value in self._values.values():
            if force or value.changed:
                stored = value.value
                value.previous_value = deepcopy(stored) if isinstance(stored, (dict, list, set)) else stored
                value.explicit = False
        self._is_persisted = True
