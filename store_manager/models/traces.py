"""What Cassandra itself writes down of a statement that it traces. Read only: these tables are never made by the store.

They are no Models of the schema, so they are not among `store_manager.models.MODELS`.
"""

from __future__ import annotations

from cassandra.cqlengine import columns

from store_manager.models.base import StoreModel

KEYSPACE = "system_traces"


class TraceSession(StoreModel):
    """One traced statement. Serves: read by id. One row a partition; `duration` is written last."""

    __keyspace__ = KEYSPACE
    __table_name__ = "sessions"

    session_id = columns.UUID(partition_key=True)
    coordinator = columns.Inet()
    duration = columns.Integer()
    """Microseconds."""
    request = columns.Text()
    started_at = columns.DateTime()


class TraceEvent(StoreModel):
    """What one node did for a traced statement. Serves: read by statement, in the order of the nodes' clocks.

    A partition holds some dozens of rows.
    """

    __keyspace__ = KEYSPACE
    __table_name__ = "events"

    session_id = columns.UUID(partition_key=True)
    event_id = columns.TimeUUID(primary_key=True)
    activity = columns.Text()
    source = columns.Inet()
    source_elapsed = columns.Integer()
    """Microseconds since this node began to work for the statement."""
    thread = columns.Text()
