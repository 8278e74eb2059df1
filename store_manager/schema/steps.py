"""What a plan is made of: its steps, how safe each of them is, and what of it may be run.

Nothing here compares, and nothing here talks to the cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


REPLICAS = "replicas"
"""What a step destroys that moves rows to other nodes: the one thing that is no leftover."""


class Safety(StrEnum):
    """What a step asks of those who run it while the store sells."""

    SAFE = "safe"
    """It changes what nodes know, not what they hold: done in a moment."""
    SLOW = "online but slow"
    """The store goes on, while nodes work on the rows that they hold."""
    MIGRATION = "needs a migration"
    """No statement changes this in place: the rows have to move."""
    REFUSED = "refused"
    """Cassandra does not take it, and no migration helps: the Model or a setting has to change."""


@dataclass(frozen=True)
class Step:
    """One change of the schema: what it does, the exact CQL, why it is needed, and how safe it is.

    `cql` is empty where no statement does it. `destroys` names what is lost or given up, in the words by which an
    operator allows it (`column:products.colour`, `table:old_things`, `index:by_name`, `replicas:store_manager`): such
    a step is never run unless it is named. `follow_up` says what people have to do afterwards.
    """

    what: str
    cql: str
    why: str
    safety: Safety = Safety.SAFE
    destroys: str | None = None
    follow_up: str | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether no statement can do this, now or ever."""
        return self.safety in {Safety.MIGRATION, Safety.REFUSED}

    @property
    def is_leftover(self) -> bool:
        """Whether it only takes away what no Model declares: the service does without it, and works with it."""
        return self.destroys is not None and self.destroys.partition(":")[0] != REPLICAS


@dataclass(frozen=True)
class Plan:
    """The steps that bring a keyspace in line with the Models, in the order in which they have to be run.

    `remarks` are sentences about what differs from what this tool would have made, and asks for nothing.
    """

    steps: tuple[Step, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def is_in_line(self) -> bool:
        """Whether the keyspace is as the Models and the settings say, no more and no less."""
        return not self.steps

    @property
    def lacking(self) -> tuple[Step, ...]:
        """The steps without those that only take leftovers away: what the keyspace is behind the Models."""
        return tuple(step for step in self.steps if not step.is_leftover)

    @property
    def runnable(self) -> tuple[Step, ...]:
        """The steps that may be run without asking anybody: what the Models add or set."""
        return self.allowing(())

    @property
    def blocked(self) -> tuple[Step, ...]:
        """The differences that no statement removes: each needs a migration, or another Model or setting."""
        return tuple(step for step in self.steps if step.is_blocked)

    @property
    def destructive(self) -> tuple[Step, ...]:
        """The steps that are run only if an operator names what each destroys."""
        return tuple(step for step in self.steps if step.destroys is not None and not step.is_blocked)

    def allowing(self, names: Collection[str]) -> tuple[Step, ...]:
        """Return the steps that may be run once an operator has allowed to destroy what bears these names."""
        return tuple(
            step for step in self.steps if not step.is_blocked and (step.destroys is None or step.destroys in names)
        )
