"""Whether all nodes are there and have one schema, and whether this process knows it. Nothing here changes the schema.

Each node is asked itself: what the others say of a node that hangs is what it said before it did.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from store_manager.database.failures import DRIVER_ERRORS
from store_manager.errors import DatabaseUnavailable
from store_manager.schema.faults import NodeAway, SchemaDisagreement

if TYPE_CHECKING:
    from collections.abc import Collection

    from store_manager.database.connections import Database
    from store_manager.database.health import NodeHealth

SILENCE_S = 10.0
"""How long a node may be silent before it counts as away: longer than a pause of its garbage collection."""

AGREEMENT_S = 20.0
"""How long nodes that answer may have different schemas."""

POLL_S = 0.2


def require_nodes(database: Database, without: Collection[str] = ()) -> None:
    """Return once every node answers; raises NodeAway, which says which one does not, after `SILENCE_S`.

    `without` are the addresses of nodes that are known to be gone. The driver, too, gives up those that do not answer:
    else it would wait for each of them after each statement.
    """
    _require_answers(database, without)
    gone = [node.address for node in _ask(database, ()) if not node.schema_version and node.address in without]
    if gone:
        database.give_up(gone)


def _require_answers(database: Database, without: Collection[str]) -> None:
    end_s = time.monotonic() + SILENCE_S
    while silent := [node.address for node in _ask(database, without) if not node.schema_version]:
        if time.monotonic() > end_s:
            raise NodeAway(
                f"No answer from {', '.join(silent)}, so nothing more was run: bring it back and run the sync again. A "
                "node that is gone for good, or that will be away for long, can be left out by its address "
                f"(--without {silent[0]}): it learns the schema from the others when it comes back",
                nodes=silent,
            )
        time.sleep(POLL_S)


def require_agreement(database: Database, without: Collection[str] = ()) -> None:
    """Return once every node, but those `without`, answers that it has the same schema as the others.

    Raises SchemaDisagreement, with what each node says, if they don't in time.
    """
    end_s = time.monotonic() + AGREEMENT_S
    while not _is_one(nodes := _ask(database, without)):
        if time.monotonic() > end_s:
            raise _explain(nodes)
        time.sleep(POLL_S)


def learn_schema(database: Database) -> None:
    """Let the driver read the schema anew, after the nodes that are up agree on it.

    Raises SchemaDisagreement if they don't in time, DatabaseUnavailable if the connection is lost.
    """
    try:
        # The driver asks about the nodes of other data centres, too.
        if not database.cluster.control_connection.wait_for_schema_agreement():
            raise explain_disagreement(database)
        database.cluster.refresh_schema_metadata(max_schema_agreement_wait=0)
    except DRIVER_ERRORS as error:
        raise DatabaseUnavailable("The database did not tell its schema") from error


def explain_disagreement(database: Database) -> SchemaDisagreement:
    """Return the error that says which schema each node has, or that it does not answer."""
    return _explain(_ask(database, ()))


def _explain(nodes: Collection[NodeHealth]) -> SchemaDisagreement:
    told = ", ".join(
        f"{node.address} {f'has {node.schema_version}' if node.schema_version else 'does not answer'}" for node in nodes
    )
    return SchemaDisagreement(
        f"The nodes do not agree on one schema ({told}), so nothing more was run: bring them together, then run the "
        "sync again; it goes on from what there is then",
    )


def _ask(database: Database, without: Collection[str]) -> list[NodeHealth]:
    return [node for node in database.health().nodes if node.address not in without]


def _is_one(nodes: Collection[NodeHealth]) -> bool:
    return len({node.schema_version for node in nodes}) == 1 and all(node.schema_version for node in nodes)
