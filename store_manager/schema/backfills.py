"""Back-fills: every row of a table, part of the ring by part, is shown to a function that says what to write.

A part that is done leaves a mark, so that an interrupted back-fill goes on with the next part. A part that was begun is
done again from its start, which changes nothing: what a back-fill writes may be written twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

from cassandra.cqlengine.query import LWTException
from cassandra.query import UNSET_VALUE, SimpleStatement

from store_manager.dao import conditional
from store_manager.errors import OutcomeUnknown
from store_manager.rings import FIRST_TOKEN, RING_SIZE
from store_manager.schema.attempts import WORTH_ANOTHER, insist
from store_manager.schema.faults import MigrationFailed, MigrationInvalid
from store_manager.schema.runs import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from store_manager.database.sessions import Rows
    from store_manager.schema.marks import Marks
    from store_manager.schema.runs import Runner

PARTS = 1024
"""Into how many parts of the same size the ring is cut, if the migration does not say."""

ROWS_A_PAGE = 500
WRITERS = 4
TELL_EVERY_S = 1.0

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Put:
    """A plain row to write, as if it had been written when its source was; made by `put`."""

    table: str
    values: Mapping[str, Any]
    written_at: int


@dataclass(frozen=True)
class Change:
    """A change of a row that only conditional writes touch; made by `change`."""

    table: str
    key: Mapping[str, Any]
    values: Mapping[str, Any]
    version: int


Write: TypeAlias = Put | Change
Decide: TypeAlias = "Callable[[Row], Write | Iterable[Write] | None]"


def put(table: str, values: Mapping[str, Any], *, written_at: int | None) -> Put:
    """Write a row of a table that no conditional write touches; None is not written.

    `written_at` is the WRITETIME of what it was made of: a newer row, that a service wrote meanwhile, stays.
    """
    if written_at is None:
        raise MigrationInvalid(
            f"A row for {table} has no time: select the WRITETIME of a column that is set in its source, and skip "
            "rows without one"
        )
    return Put(table, values, written_at)


def change(table: str, key: Mapping[str, Any], values: Mapping[str, Any], *, version: int) -> Change:
    """Change a row that conditional writes own, if it still has the `version` that was read.

    Its table has the columns `version` and `change_id`, as the store's have. If the row has changed meanwhile, its
    source is read again and shown to the function again.
    """
    return Change(table, key, values, version)


@dataclass
class Backfill:
    """One walk over a table: `columns` are selected beside its key, `decide` says what to write for a row."""

    runner: Runner
    marks: Marks
    name: str
    table: str
    columns: Sequence[str]
    decide: Decide
    parts: int = PARTS
    _key: list[str] = field(init=False)
    _partition_key: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Learn the table's key from the cluster."""
        self._keyspace = self.runner.settings.cassandra_keyspace
        keyspaces = self.runner.database.cluster.metadata.keyspaces
        metadata = keyspaces[self._keyspace].tables.get(self.table)
        if metadata is None:
            raise MigrationInvalid(f"Keyspace {self._keyspace} has no table {self.table} to walk over")
        self._key = [column.name for column in metadata.primary_key]
        self._partition_key = [column.name for column in metadata.partition_key]
        named = [name for name in self.columns if name not in self._key]
        self._selected = ", ".join([*self._key, *named])

    def run(self) -> int:
        """Do every part that is not yet done; return how many rows were looked at, earlier runs included."""
        done = self.marks.find_parts(self.name, self.parts)
        meter = _Meter(rows=sum(done.values()), done=len(done))
        self._tell(meter)
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="backfill") as pool:
            for part in range(self.parts):
                if part not in done:
                    rows = self._fill(part, pool, meter)
                    self.marks.add(self.name, part, self.parts, rows)
                    meter.done += 1
        self._tell(meter)
        return meter.rows

    def _fill(self, part: int, pool: ThreadPoolExecutor, meter: _Meter) -> int:
        rows = 0
        for page in self._walk(part):
            self.runner.lease.require()
            for _ in pool.map(self._apply, page):
                pass
            rows += len(page)
            meter.count(len(page), self.runner.terms.rows_per_s)
            if meter.is_time_to_tell():
                self._tell(meter)
        return rows

    def _walk(self, part: int) -> Iterator[list[Row]]:
        """Yield the pages of a part.

        Consistency: the read level. Idempotent. Partitions: those of one part of the ring.
        """
        first, last = (FIRST_TOKEN + RING_SIZE * edge // self.parts for edge in (part, part + 1))
        token = f"token({', '.join(self._partition_key)})"
        query = SimpleStatement(
            f"SELECT {self._selected} FROM {self._keyspace}.{self.table} "  # noqa: S608 - the migration's own names
            f"WHERE {token} >= %(first)s AND {token} <= %(last)s",
            fetch_size=ROWS_A_PAGE,
        )
        bounds = {"first": first, "last": last - 1}
        page: Rows | None = insist(partial(self.runner.database.session.execute, query, bounds))
        while page is not None:
            yield page.current_rows
            page = insist(page.read_next)

    def _apply(self, row: Row) -> None:
        """Write what the function says about a row; when the row has changed meanwhile, ask it again."""
        current: Row | None = row
        for pause_s in conditional.pauses():
            if current is None or self._write_all(self._ask(current)):
                return
            time.sleep(pause_s)
            current = self._read_again(row)
        raise MigrationFailed(f"A row of {self.table} changed all the time ({self._name_row(row)}): run the sync again")

    def _write_all(self, writes: list[Write]) -> bool:
        """Write each; return False if a row has changed since it was read."""
        written = [self._write(write) for write in writes]
        return all(written)

    def _ask(self, row: Row) -> list[Write]:
        said = self.decide(row)
        if said is None:
            return []
        return list(said) if isinstance(said, Iterable) else [said]

    def _read_again(self, row: Row) -> Row | None:
        """Return a row as it is now, None if it is gone.

        Consistency: SERIAL. Idempotent. Partition: that of the row.
        """
        where = " AND ".join(f"{name} = %({name})s" for name in self._key)
        query = SimpleStatement(
            f"SELECT {self._selected} FROM {self._keyspace}.{self.table} WHERE {where}",  # noqa: S608
            consistency_level=conditional.SERIAL,
        )
        return insist(
            partial(self.runner.database.session.execute, query, {name: row[name] for name in self._key})
        ).one()

    def _write(self, write: Write) -> bool:
        if isinstance(write, Put):
            self._put(write)
            return True
        return self._change(write)

    def _put(self, write: Put) -> None:
        """Write a plain row with its source's time.

        Consistency: the write level. Idempotent. Partition: that of the row.
        """
        values = {name: UNSET_VALUE if value is None else value for name, value in write.values.items()}
        markers = ", ".join(f"%({name})s" for name in values)
        cql = (
            f"INSERT INTO {self._keyspace}.{write.table} ({', '.join(values)}) VALUES ({markers}) "  # noqa: S608
            "USING TIMESTAMP %(written_at)s"
        )
        insist(partial(self.runner.database.session.execute, cql, {**values, "written_at": write.written_at}))

    def _change(self, write: Change) -> bool:
        """Change a row if it has the version that was read; return whether it had.

        Consistency: LWT on the version, which grows. Safe to send again. Partition: that of the row.
        """
        change_id = uuid4()
        assigned = {**write.values, "version": write.version + 1, "change_id": change_id}
        cql = (
            f"UPDATE {self._keyspace}.{write.table} SET {_equal(assigned, 'new_', ', ')} "  # noqa: S608
            f'WHERE {_equal(write.key, "", " AND ")} IF "version" = %(read_version)s'
        )
        values = {f"new_{name}": value for name, value in assigned.items()}
        values |= {**write.key, "read_version": write.version}
        try:
            return conditional.apply(partial(self._send_change, cql, values), partial(self._landed, write, change_id))
        except WORTH_ANOTHER:
            return False  # the row is read again, and says what became of it

    def _send_change(self, cql: str, values: Row) -> None:
        result = self.runner.database.session.execute(cql, values)
        if not result.was_applied:
            raise LWTException(result.one())

    def _landed(self, write: Change, change_id: object) -> bool:
        query = SimpleStatement(
            f"SELECT change_id FROM {self._keyspace}.{write.table} WHERE {_equal(write.key, '', ' AND ')}",  # noqa: S608
            consistency_level=conditional.SERIAL,
        )
        row = self.runner.database.session.execute(query, dict(write.key)).one()
        if row is None or row["change_id"] != change_id:
            raise OutcomeUnknown("Others have changed the row since")
        return True

    def _tell(self, meter: _Meter) -> None:
        migration = self.marks.migration
        self.runner.tell(Progress(migration, self.name, meter.done, self.parts, meter.rows, meter.rows_per_s))

    def _name_row(self, row: Row) -> str:
        return ", ".join(f"{name} {row[name]}" for name in self._key)


def _equal(values: Mapping[str, Any], prefix: str, joint: str) -> str:
    return joint.join(f'"{name}" = %({prefix}{name})s' for name in values)


@dataclass
class _Meter:
    """Counts rows, and keeps to a pace."""

    rows: int
    done: int
    _own_rows: int = 0
    _began_s: float = field(default_factory=time.monotonic)
    _told_s: float = 0.0

    @property
    def rows_per_s(self) -> float:
        return self._own_rows / max(time.monotonic() - self._began_s, 0.001)

    def count(self, rows: int, rows_per_s: int) -> None:
        """Count rows; wait if they came faster than they should."""
        self.rows += rows
        self._own_rows += rows
        if rows_per_s:
            ahead_s = self._own_rows / rows_per_s - (time.monotonic() - self._began_s)
            if ahead_s > 0:
                time.sleep(ahead_s)

    def is_time_to_tell(self) -> bool:
        """Tell, at most every `TELL_EVERY_S`, that it is time."""
        now_s = time.monotonic()
        if now_s - self._told_s < TELL_EVERY_S:
            return False
        self._told_s = now_s
        return True
