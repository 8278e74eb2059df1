"""When the cluster was last repaired, as the store's own health wants to know it."""

from __future__ import annotations

from cassandra.cqlengine import columns

from store_manager.models.base import StoreModel


class Repair(StoreModel):
    """The last complete repair of a kind. Serves: whether the next one is overdue. Plain, idempotent writes.

    One row a partition, `full` and `paxos`. What was written before `started_at` was repaired.
    """

    __table_name__ = "repairs"

    kind = columns.Text(partition_key=True)
    started_at = columns.DateTime()
    finished_at = columns.DateTime()
    nodes = columns.Integer()
