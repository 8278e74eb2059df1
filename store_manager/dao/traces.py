"""The traces that Cassandra keeps of single statements. What they mean is said by the services.

Cassandra writes them in the background, some after the statement was answered, and removes them after a day. These
queries are not rehearsed: a user of the database without a grant to read them can still serve the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cassandra import ConsistencyLevel

from store_manager.models.traces import TraceEvent, TraceSession

if TYPE_CHECKING:
    from uuid import UUID

MOST_EVENTS = 1000


def find_session(session_id: UUID) -> TraceSession | None:
    """Return what is known of a traced statement as a whole, None as long as nothing is.

    Consistency: ONE, for a trace must be readable while nodes are away. Idempotent. Partition: (session_id).
    """
    found: TraceSession | None = TraceSession.objects(session_id=session_id).consistency(ConsistencyLevel.ONE).first()
    return found


def list_events(session_id: UUID) -> list[TraceEvent]:
    """Return what the nodes have written down so far, in the order of their clocks, `MOST_EVENTS` at most.

    Consistency: ONE, so some that are written may be missing; asked again, another replica may know them. Idempotent.
    Partition: (session_id).
    """
    return list(TraceEvent.objects(session_id=session_id).consistency(ConsistencyLevel.ONE).limit(MOST_EVENTS))
