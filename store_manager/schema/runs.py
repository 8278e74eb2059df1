"""Running statements that change the schema: one at a time, under the lock, each agreed on before the next.

What is run is decided in `store_manager.schema.plans` and in migrations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from cassandra import RequestValidationException
from cassandra.protocol import SyntaxException

from store_manager.database.failures import DRIVER_ERRORS
from store_manager.schema.agreements import explain_disagreement, require_agreement, require_nodes
from store_manager.schema.faults import SchemaRefused, SchemaStepFailed
from store_manager.schema.histories import APPLIED, FAILED, STEP, Entry, Event, find_destroyed
from store_manager.schema.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from store_manager.database.connections import Database
    from store_manager.schema.locks import Lease
    from store_manager.settings import Settings

_REFUSALS = (RequestValidationException, SyntaxException)
_CREATED = re.compile(r"CREATE TABLE IF NOT EXISTS \w+\.\"?(\w+)")


@dataclass(frozen=True)
class Progress:
    """How far a back-fill is."""

    migration: str
    backfill: str
    done: int
    parts: int
    rows: int
    rows_per_s: float

    def __str__(self) -> str:
        """Say it to people."""
        return (
            f"{self.migration}: {self.backfill}: {self.done / self.parts:.0%}, {self.rows:,} rows, "
            f"{self.rows_per_s:,.0f} rows/s"
        )


News: TypeAlias = Step | Progress | str
"""What is about to be done, how far it is, or a sentence."""


def say(news: News) -> str:
    """Return news as one line for people."""
    return news.what if isinstance(news, Step) else str(news)


@dataclass(frozen=True)
class Terms:
    """What an operator allows, and what a sync may take.

    `allow` are names of what may be destroyed, `confirmed` the confirmations that migrations ask for, `without` the
    addresses of nodes that are known to be gone. `rows_per_s` limits back-fills; 0: as fast as they go.
    """

    allow: Collection[str] = ()
    confirmed: Collection[str] = ()
    without: Collection[str] = ()
    wait_s: float = 600.0
    rows_per_s: int = 0
    migrations: Path | None = None


@dataclass
class Runner:
    """Runs the statements of one sync; `done` are those that were carried out."""

    database: Database
    settings: Settings
    lease: Lease
    terms: Terms
    tell: Callable[[News], object]
    done: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Choose the node that all statements go to."""
        self._coordinator = self.database.cluster.get_control_connection_host()

    def run(self, step: Step) -> None:
        """Run a step, note it in the history, and return when all nodes agree on it.

        Raises SchemaStepFailed if it failed or nobody knows, NodeAway and SchemaDisagreement if not all nodes have
        it, LockLost, before anything is sent, if others may hold the lock.
        """
        keyspace = self.settings.cassandra_keyspace
        self._refuse_second_life(step)
        require_nodes(self.database, self.terms.without)
        self.tell(step)
        event = Event(STEP, step.what, self.lease.holder, cql=step.cql, destroys=step.destroys)
        entry = Entry(self.database, keyspace, event)
        self.lease.require()
        try:
            send(self.database, step, self._coordinator, self.terms.without)
        except StepRefused:
            entry.end(FAILED)
            raise
        entry.end(APPLIED)
        self.done.append(step)

    def _refuse_second_life(self, step: Step) -> None:
        """Refuse to create a table under a name that was dropped: its id would live twice, and so would its rows."""
        created = _CREATED.match(step.cql)
        if created is None:
            return
        dropped = find_destroyed(self.database, self.settings.cassandra_keyspace).get(f"table:{created[1]}")
        if dropped is not None:
            raise SchemaRefused(
                f"Table {created[1]} was dropped at {dropped.at:%Y-%m-%d %H:%M:%S} UTC by {dropped.holder}. A table "
                "of the same name would have the same id, and a node that was away then would bring the old rows "
                "back: choose another name"
            )


class StepRefused(SchemaStepFailed):
    """Cassandra refuses a step, which therefore did not happen."""


def send(database: Database, step: Step, coordinator: Any, without: Collection[str] = ()) -> None:
    """Send a step to one node, and return when all nodes agree on it; raises as `Runner.run` does."""
    try:
        result = database.raw.execute(step.cql, host=coordinator)
    except _REFUSALS as error:
        raise StepRefused(f"Cassandra refuses this step: {step.what} ({error})") from error
    except DRIVER_ERRORS as error:
        raise SchemaStepFailed(
            f"Nobody knows whether this step happened: {step.what}. Once the nodes answer, run the sync again: it "
            "goes on from what there is then",
        ) from error
    if not result.response_future.is_schema_agreed:  # the driver has waited already
        raise explain_disagreement(database)
    require_agreement(database, without)
