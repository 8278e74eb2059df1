"""The replication of Cassandra's own keyspaces, which is one copy or two by default, whatever the store's is.

With one copy of `system_auth` a single dead node can stop logins; with one of `system_traces` it takes traces along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cassandra import RequestValidationException

from store_manager.cluster.faults import UpkeepFailed
from store_manager.database.failures import DRIVER_ERRORS
from store_manager.schema.agreements import require_agreement, require_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from store_manager.database.connections import Database

SYSTEM_KEYSPACES = ("system_auth", "system_distributed", "system_traces")
"""Those that are spread over the nodes; the others are each node's own."""


@dataclass(frozen=True)
class Change:
    """A keyspace whose replication is not the store's, and the CQL that makes it so."""

    keyspace: str
    cql: str
    why: str


def plan(database: Database, keyspace: str) -> list[Change]:
    """Return what makes the system's keyspaces follow the replication of this one; nothing if they do.

    Raises UpkeepFailed if there is no such keyspace.
    """
    try:
        rows = database.raw.execute("SELECT keyspace_name, replication FROM system_schema.keyspaces")
        found = {row["keyspace_name"]: dict(row["replication"]) for row in rows}
    except DRIVER_ERRORS as error:
        raise UpkeepFailed("The database did not tell its keyspaces") from error
    wanted = found.get(keyspace)
    if wanted is None:
        raise UpkeepFailed(f"There is no keyspace {keyspace} to follow: run `store-manager schema sync` first")
    return [
        Change(name, _alter(name, wanted), f"it has {_say(found[name])}, {keyspace} has {_say(wanted)}")
        for name in SYSTEM_KEYSPACES
        if name in found and found[name] != wanted
    ]


def warnings(database: Database, keyspace: str) -> list[str]:
    """Return a sentence if the replication of the system's keyspaces is not that of this one; none if nobody knows."""
    try:
        changes = plan(database, keyspace)
    except UpkeepFailed:
        return []
    names = ", ".join(change.keyspace for change in changes)
    verb = "`store-manager cluster replicate-system`"
    return [f"Other replication than that of {keyspace}: {names}; run {verb}"] if changes else []


def apply(database: Database, changes: list[Change], tell: Callable[[Change], object] = lambda _change: None) -> None:
    """Carry the changes out, one at a time, each agreed on by all nodes before the next.

    Raises UpkeepFailed, NodeAway or SchemaDisagreement at the first that fails; it may be run again.
    """
    coordinator = database.cluster.get_control_connection_host()
    for change in changes:
        require_nodes(database)
        tell(change)
        try:
            database.raw.execute(change.cql, host=coordinator)
        except RequestValidationException as error:
            raise UpkeepFailed(f"Cassandra refuses to change {change.keyspace} ({error})") from error
        except DRIVER_ERRORS as error:
            raise UpkeepFailed(f"Nobody knows whether {change.keyspace} was changed: run it again") from error
        require_agreement(database)


def _alter(keyspace: str, replication: Mapping[str, Any]) -> str:
    values = ", ".join(f"'{name}': '{value}'" for name, value in sorted(replication.items()))
    return f"ALTER KEYSPACE {keyspace} WITH replication = {{{values}}}"


def _say(replication: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.removeprefix('replication_')} {str(value).rpartition('.')[2]}" for name, value in replication.items()
    )
