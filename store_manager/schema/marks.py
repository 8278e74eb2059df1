"""Marks: which parts of a migration are done, so that it goes on where it was interrupted."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from store_manager.schema.attempts import insist

if TYPE_CHECKING:
    from store_manager.database.connections import Database


@dataclass(frozen=True)
class Marks:
    """The marks of one migration, as its file is now; a changed file begins anew."""

    database: Database
    keyspace: str
    migration: str
    checksum: str
    holder: str = ""

    def find_parts(self, step: str, parts: int) -> dict[int, int]:
        """Return the parts of a step that are done, and how many rows each had; a step cut otherwise has none.

        Consistency: the read level. Idempotent. Partition: (migration, checksum).
        """
        cql = (
            f"SELECT part, parts, rows FROM {self.keyspace}.schema_marks "  # noqa: S608
            "WHERE migration = %(migration)s AND checksum = %(checksum)s AND step = %(step)s"
        )
        values = {"migration": self.migration, "checksum": self.checksum, "step": step}
        found = insist(lambda: list(self.database.session.execute(cql, values)))
        return {row["part"]: row["rows"] for row in found if row["parts"] == parts}

    def is_done(self, step: str) -> bool:
        """Tell whether a step that is not cut into parts is done."""
        return bool(self.find_parts(step, 1))

    def add(self, step: str, part: int = 0, parts: int = 1, rows: int = 0) -> None:
        """Note that a part of a step is done.

        Consistency: the write level. Idempotent. Partition: (migration, checksum).
        """
        values = {
            "migration": self.migration,
            "checksum": self.checksum,
            "step": step,
            "part": part,
            "parts": parts,
            "rows": rows,
            "done_at": datetime.now(UTC).replace(tzinfo=None),
            "holder": self.holder,
        }
        markers = ", ".join(f"%({name})s" for name in values)
        cql = f"INSERT INTO {self.keyspace}.schema_marks ({', '.join(values)}) VALUES ({markers})"  # noqa: S608
        insist(partial(self.database.session.execute, cql, values))

    def describe(self) -> list[str]:
        """Return a sentence for each step that is cut into parts: how far it is.

        Consistency: the read level. Idempotent. Partition: (migration, checksum), all of it.
        """
        cql = (
            f"SELECT step, parts, rows FROM {self.keyspace}.schema_marks "  # noqa: S608
            "WHERE migration = %(migration)s AND checksum = %(checksum)s"
        )
        values = {"migration": self.migration, "checksum": self.checksum}
        found: dict[tuple[str, int], list[int]] = defaultdict(list)
        for row in insist(lambda: list(self.database.session.execute(cql, values))):
            found[row["step"], row["parts"]].append(row["rows"])
        return [
            f"{step}: {len(rows) / parts:.0%}, {sum(rows):,} rows" for (step, parts), rows in found.items() if parts > 1
        ]
