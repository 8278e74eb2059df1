"""Crowds: many processes that run `store-manager schema sync` at once, and what became of each.

Each is a process of its own with a connection of its own. They are forked from one that has imported everything, so
that twenty of them come at the same moment on a machine of two cores.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.faults import environment
from store_manager.database.connections import open_database
from store_manager.database.failures import DRIVER_ERRORS
from store_manager.errors import StoreError
from store_manager.models import MODELS
from store_manager.schema import histories, locks
from store_manager.schema.agreements import require_nodes
from store_manager.schema.tables import declare, identify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import ForkServerProcess
    from multiprocessing.synchronize import Barrier
    from pathlib import Path
    from uuid import UUID

    from store_manager.database.connections import Database
    from store_manager.settings import Settings

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["store_manager.cli.schema"])

START_S = 120.0
END_S = 300.0
POLL_S = 0.05

REASONS_TO_STOP = (
    "The lock of the schema is lost",
    "Nobody knows whether this step happened",
    "The database did not answer",
    "The database did not say whether this was written",
    "so nothing more was run",
)
"""What a process says that was frozen beyond its lease: between two steps, in one, as it read, noted or asked."""


class DrillError(StoreError):
    """A promise about the schema was not kept, or the drill itself went wrong."""

    code = "DRILL"


@dataclass
class Comer:
    """One process that syncs."""

    number: int
    process: ForkServerProcess
    directory: Path
    killed: bool = field(default=False)

    @property
    def pid(self) -> int:
        """The number of its process."""
        return int(self.process.pid or 0)

    @property
    def error(self) -> str:
        """What it said on standard error."""
        return (self.directory / f"{self.number}.err").read_text(encoding="utf-8")

    @property
    def was_stopped(self) -> bool:
        """Whether it ended because of what became of the lock or the nodes while it was frozen."""
        return self.process.exitcode == 1 and any(reason in self.error for reason in REASONS_TO_STOP)

    @property
    def told(self) -> dict[str, Any]:
        """What it reported; nothing if it failed."""
        text = (self.directory / f"{self.number}.out").read_text(encoding="utf-8")
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    @property
    def worked(self) -> bool:
        """Whether it found something to do."""
        return bool(self.told.get("steps"))


@contextmanager
def crowd(settings: Settings, size: int, directory: Path, *options: str) -> Iterator[list[Comer]]:
    """Start so many syncs at one moment, and end what is left of them."""
    directory.mkdir(parents=True, exist_ok=True)
    barrier = CONTEXT.Barrier(size + 1)
    with ExitStack() as stack:
        comers = []
        for number in range(size):
            arguments = (number, directory, environment(settings), ["schema", "sync", "--json", *options], barrier)
            process = CONTEXT.Process(target=_sync, args=arguments, daemon=True)
            process.start()
            stack.callback(_end, process)
            comers.append(Comer(number, process, directory))
        barrier.wait(START_S)
        yield comers


def wait_for(comers: list[Comer]) -> None:
    """Return when all have ended; raises DrillError if one does not."""
    end_s = time.monotonic() + END_S
    for comer in comers:
        comer.process.join(max(0.0, end_s - time.monotonic()))
        if comer.process.exitcode is None:
            raise DrillError(f"A sync does not end; it said: {comer.error}")


def _end(process: ForkServerProcess) -> None:
    process.kill()
    process.join()


def _sync(number: int, directory: Path, given: list[str], arguments: list[str], barrier: Barrier) -> None:
    from store_manager.cli import main  # noqa: PLC0415 - in the process that has it already

    for name, descriptor in (("out", 1), ("err", 2)):
        file = os.open(directory / f"{number}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    os.environ.update(dict(one.split("=", 1) for one in given))
    barrier.wait(START_S)
    sys.argv[1:] = arguments
    main()


class Witness:
    """Looks at a keyspace from outside, through a connection of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database: Database = open_database(settings)

    def close(self) -> None:
        """End the connection."""
        self.database.close()

    def wait_for_steps(self, number: int) -> None:
        """Return when so many steps were applied."""
        self.wait_until(lambda: len(self._applied()) >= number, f"{number} steps")

    def wait_until(self, holds: Any, what: str) -> None:
        """Return when something is so; raises DrillError if it does not come."""
        end_s = time.monotonic() + END_S
        while not holds():
            if time.monotonic() > end_s:
                raise DrillError(f"There were never {what}")
            time.sleep(POLL_S)

    def find_holder(self, comers: list[Comer]) -> Comer:
        """Return the one that holds the lock."""
        state = locks.find_lock(self.database, self.settings.cassandra_keyspace)
        named = state.holder if state and state.holder_id and state.holder else ""
        for comer in comers:
            if f"process {comer.pid}," in named:
                return comer
        raise DrillError(f"None of the crowd holds the lock: {state}")

    def find_ids(self) -> dict[str, set[UUID]]:
        """Return the ids that each table of the store has, over all nodes that answer."""
        query = (
            "SELECT table_name, id FROM system_schema.tables "  # noqa: S608 - our own keyspace
            f"WHERE keyspace_name = '{self.settings.cassandra_keyspace}'"
        )
        found: dict[str, set[UUID]] = {}
        for host in self.database.cluster.metadata.all_hosts():
            with suppress(*DRIVER_ERRORS):
                for row in self.database.raw.execute(query, host=host):
                    found.setdefault(row["table_name"], set()).add(row["id"])
        return {name: ids for name, ids in found.items() if not name.startswith("schema_")}

    def require_whole(self) -> None:
        """Raise DrillError unless every table is there on every node, once, and was made by one step."""
        require_nodes(self.database)
        keyspace = self.settings.cassandra_keyspace
        expected = {table.name: {identify(keyspace, table.name)} for table in declare(MODELS)}
        if self.find_ids() != expected:
            raise DrillError(f"The tables of {keyspace} are not what was declared: {self.find_ids()}")

    def count_steps(self) -> dict[str, int]:
        """Return how many times each step was carried out."""
        counts: dict[str, int] = {}
        for what in self._applied():
            counts[what] = counts.get(what, 0) + 1
        return counts

    def _applied(self) -> list[str]:
        # Asked as it is: the driver hears of new tables seconds later, when a small sync is over.
        try:
            events = histories.list_events(self.database, self.settings.cassandra_keyspace, 1000)
        except StoreError:
            return []  # the table is being made
        return [event.what for event in events if (event.kind, event.outcome) == (histories.STEP, histories.APPLIED)]


def freeze(comer: Comer) -> None:
    """Halt a process."""
    psutil.Process(comer.pid).suspend()


def thaw(comer: Comer) -> None:
    """Let a process run on."""
    psutil.Process(comer.pid).resume()


def kill(comer: Comer) -> None:
    """End a process as a power cut would."""
    comer.killed = True
    psutil.Process(comer.pid).kill()
