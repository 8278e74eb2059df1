"""What a migration may do: the whole of what the files of `migrations/` use.

A migration is run from its start each time until it has ended once: what is marked as done is passed over, and what is
done twice does the same as once. Whatever it does goes through the lock, the history and the agreement of all nodes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store_manager.schema.attempts import insist
from store_manager.schema.backfills import PARTS, Backfill, Change, Put, change, put
from store_manager.schema.faults import ConfirmationMissing, MigrationFailed, MigrationInvalid
from store_manager.schema.histories import CONFIRMATION, Event, record
from store_manager.schema.steps import Step
from store_manager.schema.tables import identify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store_manager.schema.backfills import Decide
    from store_manager.schema.marks import Marks
    from store_manager.schema.runs import Runner

__all__ = ["Change", "Migrating", "Put", "change", "put"]

_TABLE = r"\{keyspace\}\.(?P<table>[a-z]\w*)"
_FORMS = {
    rf"CREATE TABLE IF NOT EXISTS {_TABLE}\b.*": ("create table {table}", None),
    rf"ALTER TABLE {_TABLE} ADD IF NOT EXISTS (?P<column>[a-z]\w*) .*": ("add column {table}.{column}", None),
    rf"ALTER TABLE {_TABLE} DROP IF EXISTS (?P<column>[a-z]\w*)": (
        "drop column {table}.{column}",
        "column:{table}.{column}",
    ),
    rf"ALTER TABLE {_TABLE} WITH .*": ("set options of {table}", None),
    rf"DROP TABLE IF EXISTS {_TABLE}": ("drop table {table}", "table:{table}"),
    rf"CREATE INDEX IF NOT EXISTS (?P<index>[a-z]\w*) ON {_TABLE} .*": ("create index {index}", None),
    r"DROP INDEX IF EXISTS \{keyspace\}\.(?P<index>[a-z]\w*)": ("drop index {index}", "index:{index}"),
}
"""The statements that may be met twice: how they are said to people, and what they destroy."""


@dataclass
class Migrating:
    """A migration at work: what its function `migrate(step)` is given."""

    name: str
    runner: Runner
    marks: Marks

    @property
    def keyspace(self) -> str:
        """The keyspace; in a statement it is written `{keyspace}`."""
        return self.runner.settings.cassandra_keyspace

    def ddl(self, cql: str) -> None:
        """Run one statement that changes the schema, unless it is marked as done.

        It has to be one that may be met twice: `CREATE TABLE IF NOT EXISTS {keyspace}.…`, `ALTER TABLE {keyspace}.…`
        with `ADD IF NOT EXISTS`, `DROP IF EXISTS` of one column or `WITH`, `DROP TABLE IF EXISTS`, `CREATE INDEX IF
        NOT EXISTS name ON`, `DROP INDEX IF EXISTS`. A table gets its id from its name. What destroys something needs
        the operator's `--allow`.
        """
        step = self._describe(" ".join(cql.split()).rstrip(";"))
        if self.marks.is_done(step.cql):
            return
        if step.destroys is not None and step.destroys not in self.runner.terms.allow:
            raise ConfirmationMissing(
                f"Migration {self.name} is about to {step.what}: allow it by --allow {step.destroys}",
                option="--allow",
                name=step.destroys,
                question=f"Migration {self.name} is about to {step.what}. Shall it?",
            )
        self.runner.run(step)
        self.marks.add(step.cql)

    def backfill(self, name: str, *, table: str, columns: Sequence[str], write: Decide, parts: int = PARTS) -> None:
        """Show every row of a table to `write`, and write what it returns: `put(…)`, `change(…)`, several, or None.

        A row is a dict of the table's key and of `columns`, which may be `WRITETIME(name) AS written_at`. Rows are
        shown once or more often, in no order, several at a time; those that are written meanwhile, perhaps not: so
        every service must write the new form before. The walk is cut into `parts`, each of which leaves a mark.
        """
        Backfill(self.runner, self.marks, name, table, columns, write, parts).run()

    def confirm(self, name: str, sentence: str) -> None:
        """Go on only if an operator has confirmed the sentence, by `--confirm NAME` or when asked, now or before.

        For what no program can see, above all that no process of an older version runs any more: one that is silent
        may be frozen, and come back.
        """
        step = f"confirm {name}"
        if self.marks.is_done(step):
            return
        if name not in self.runner.terms.confirmed:
            raise ConfirmationMissing(
                f"Migration {self.name} goes on only if this is so: {sentence}. Confirm it by --confirm {name}",
                option="--confirm",
                name=name,
                question=f"{sentence}. Is this so?",
            )
        holder = self.runner.lease.holder
        record(self.runner.database, self.keyspace, Event(CONFIRMATION, f"{self.name}: {sentence}", holder))
        self.marks.add(step)

    def require(self, sentence: str, *, holds: bool) -> None:
        """Go on only if something holds that the migration has found out; `sentence` says what."""
        if not holds:
            raise MigrationFailed(f"Migration {self.name} can't go on, because this is not so: {sentence}")

    def read(self, cql: str, **values: Any) -> list[dict[str, Any]]:
        """Return the rows of a SELECT, with `{keyspace}` and values as `%(name)s`; for a few rows, not for a table."""
        query = cql.replace("{keyspace}", self.keyspace)
        return insist(lambda: list(self.runner.database.session.execute(query, values)))

    def _describe(self, cql: str) -> Step:
        for pattern, (what, destroys) in _FORMS.items():
            form = re.fullmatch(pattern, cql)
            if form is not None:
                names = {name: value for name, value in form.groupdict().items() if value}
                statement = cql.replace("{keyspace}", self.keyspace)
                if cql.startswith("CREATE TABLE"):
                    joint = "AND" if re.search(r"\) WITH ", cql) else "WITH"
                    statement += f" {joint} ID = {identify(self.keyspace, names['table'])}"
                lost = None if destroys is None else destroys.format(**names)
                return Step(what.format(**names), statement, f"migration {self.name}", destroys=lost)
        raise MigrationInvalid(
            f"Migration {self.name} asks for a statement that can't be met twice, or that is no change of the schema: "
            f"{cql}"
        )
