"""Whether all nodes have one schema, and whether this process knows it. Nothing here changes the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from store_manager.database.failures import DRIVER_ERRORS
from store_manager.errors import DatabaseUnavailable
from store_manager.schema.faults import SchemaDisagreement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from store_manager.database.connections import Database


def find_present(database: Database) -> list[Any]:
    """Return the nodes (the driver's hosts) that are up now."""
    return [host for host in database.cluster.metadata.all_hosts() if host.is_up]


def require_agreement(database: Database, present: Iterable[Any] = ()) -> None:
    """Return once all nodes that are up report one schema version, those who were `present` before among them.

    Raises SchemaDisagreement, with what each node says, if they don't in time (`SCHEMA_AGREEMENT_S` of the connection);
    DatabaseUnavailable if the connection is lost.
    """
    try:
        agreed = database.cluster.control_connection.wait_for_schema_agreement()
    except DRIVER_ERRORS as error:
        raise DatabaseUnavailable("The connection to the database was lost while its schema was read") from error
    # The driver does not count a node that it has just given up, such as a frozen one.
    if not agreed or not all(host.is_up for host in present):
        raise explain_disagreement(database)


def learn_schema(database: Database) -> None:
    """Let the driver read the schema anew, after all nodes agree on it; raises as `require_agreement` does."""
    require_agreement(database)
    try:
        database.cluster.refresh_schema_metadata(max_schema_agreement_wait=0)
    except DRIVER_ERRORS as error:
        raise DatabaseUnavailable("The database did not tell its schema") from error


def explain_disagreement(database: Database) -> SchemaDisagreement:
    """Return the error that says which schema each node has, or that it does not answer."""
    told = ", ".join(
        f"{node.address} {f'has {node.schema_version}' if node.schema_version else 'does not answer'}"
        for node in database.health().nodes
    )
    return SchemaDisagreement(
        f"The nodes do not agree on one schema ({told}), so nothing more was run: bring them together, then run the "
        "sync again; it goes on from what there is then",
    )
