"""Migrations: the files that are there, what is recorded of them, which ones are pending.

What a migration may do stands in `store_manager.schema.moves`; when they are run, in `store_manager.schema.syncs`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import store_manager
from store_manager import __version__
from store_manager.errors import SettingError
from store_manager.schema.attempts import insist
from store_manager.schema.comparisons import TOOL_TABLES
from store_manager.schema.faults import MigrationChanged, MigrationInvalid
from store_manager.schema.histories import APPLIED, BEGUN, BOOK, NOT_NEEDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from store_manager.database.connections import Database
    from store_manager.settings import Settings

FOLDER = "migrations"

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+")

_SKELETON = '''\
"""{title}.

Why the Models alone can't make this change, and how long it may take.
"""

from __future__ import annotations

from store_manager.schema.moves import Migrating


def migrate(step: Migrating) -> None:
    """Expand, back-fill, switch, contract: what each of these may do stands in migrations/README.md."""
    raise NotImplementedError("0000 says nothing to do yet")
'''


@dataclass(frozen=True)
class Migration:
    """One file of `migrations/`: `name` is that of the file, `title` the first line of its docstring."""

    name: str
    title: str
    checksum: str
    migrate: Callable[[Any], None]


@dataclass(frozen=True)
class Record:
    """What is recorded of a migration in a keyspace."""

    name: str
    title: str
    checksum: str
    outcome: str
    begun_at: datetime | None = None
    ended_at: datetime | None = None
    store_version: str | None = None
    holder: str | None = None
    duration_s: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.outcome in {APPLIED, NOT_NEEDED}


def find_directory(settings: Settings, chosen: Path | None = None) -> Path:
    """Return the directory of the migrations: the one that was chosen, that of the settings, or `migrations/`.

    The last is looked for in the working directory and beside the package, which is where a checkout has it. Raises
    SettingError if there is none.
    """
    if chosen is None and settings.schema_migrations:
        chosen = Path(settings.schema_migrations)
    checkout = Path(store_manager.__file__).parent.parent / FOLDER
    for directory in [chosen] if chosen else [Path.cwd() / FOLDER, checkout]:
        if directory.is_dir():
            return directory
    raise SettingError(
        f"There is no directory {chosen or FOLDER} of migrations: name it by SCHEMA_MIGRATIONS or --migrations",
        setting="SCHEMA_MIGRATIONS",
    )


def read_migrations(directory: Path) -> list[Migration]:
    """Return the migrations of a directory in their order; raises MigrationInvalid, which says which file is wrong."""
    paths = sorted(path for path in directory.glob("*.py") if path.name != "__init__.py")
    numbers: dict[str, str] = {}
    for path in paths:
        named = _NAME.fullmatch(path.stem)
        if named is None:
            raise MigrationInvalid(f"{path} is not named as a migration is: four digits, then _ and its title")
        if named[1] in numbers:
            raise MigrationInvalid(f"{numbers[named[1]]} and {path.name} have one number: give the later one another")
        numbers[named[1]] = path.name
    return [_read(path) for path in paths]


def _read(path: Path) -> Migration:
    source = path.read_bytes()
    spec = importlib.util.spec_from_file_location(f"_migration_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise MigrationInvalid(f"{path} can't be read as Python")
    module = importlib.util.module_from_spec(spec)
    try:
        # Its own bytes, not what Python may have kept of an older version of the file.
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - migrations are part of the store
    except Exception as error:
        raise MigrationInvalid(f"{path} can't be loaded ({type(error).__name__}: {error})") from error
    migrate, title = getattr(module, "migrate", None), (module.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    if not callable(migrate) or not title:
        raise MigrationInvalid(f"{path} needs a docstring, whose first line is its title, and a function migrate(step)")
    return Migration(path.stem, title, hashlib.sha256(source).hexdigest(), migrate)


def write_skeleton(directory: Path, title: str) -> Path:
    """Write a new migration that does nothing yet, with the next number, and return its path."""
    slug = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
    if not slug:
        raise MigrationInvalid("The title of a migration needs letters or digits")
    numbers = [int(named[1]) for path in directory.glob("*.py") if (named := _NAME.fullmatch(path.stem))]
    path = directory / f"{max(numbers, default=0) + 1:04}_{slug}.py"
    path.write_text(_SKELETON.format(title=title.strip().rstrip(".")).replace("0000", path.stem), encoding="utf-8")
    return path


def read_records(database: Database, keyspace: str) -> dict[str, Record]:
    """Return what is recorded of migrations, by name; nothing in a keyspace that was never synced.

    Consistency: the read level. Idempotent. Partition: (book).
    """
    known = database.cluster.metadata.keyspaces.get(keyspace)
    if known is None or "schema_migrations" not in known.tables:
        return {}
    columns = ", ".join(Record.__dataclass_fields__)
    cql = f"SELECT {columns} FROM {keyspace}.schema_migrations WHERE book = %(book)s"  # noqa: S608
    rows = insist(lambda: list(database.session.execute(cql, {"book": BOOK})))
    return {row["name"]: Record(**{**row, "outcome": row["outcome"] or BEGUN}) for row in rows}


def choose_pending(migrations: Iterable[Migration], records: Mapping[str, Record]) -> list[Migration]:
    """Return the migrations that are not yet applied, in order.

    Raises MigrationChanged if one that is applied, or was not needed, is missing or is no longer the same;
    MigrationInvalid if one that is pending stands before one that is applied.
    """
    there = {migration.name: migration for migration in migrations}
    settled = {name: record for name, record in records.items() if record.is_settled}
    wrong = [
        f"{name}.py {'is no longer the same' if name in there else 'is missing'}"
        for name, record in sorted(settled.items())
        if name not in there or there[name].checksum != record.checksum
    ]
    if wrong:
        raise MigrationChanged(
            f"Migrations that were applied have changed ({'; '.join(wrong)}), so nothing was run: bring the files back "
            "as they were, and make further changes by a new migration",
            migrations=wrong,
        )
    pending = [migration for name, migration in sorted(there.items()) if name not in settled]
    if pending and settled and pending[0].name < max(settled):
        raise MigrationInvalid(
            f"{pending[0].name}.py stands before {max(settled)}.py, which is applied already: give it a later number"
        )
    return pending


def find_pending(database: Database, settings: Settings, chosen: Path | None = None) -> list[Migration]:
    """Return the migrations that a sync would run after what the Models add, in order; none in an empty keyspace.

    Raises what `choose_pending`, `read_migrations` and `find_directory` raise.
    """
    migrations = read_migrations(find_directory(settings, chosen))
    if is_empty(database, settings.cassandra_keyspace):
        return []
    return choose_pending(migrations, read_records(database, settings.cassandra_keyspace))


def is_empty(database: Database, keyspace: str) -> bool:
    """Tell whether the keyspace, as the driver knows it, has no tables but those of the schema's tools."""
    known = database.cluster.metadata.keyspaces.get(keyspace)
    return known is None or all(name.startswith(TOOL_TABLES) for name in known.tables)


class Journal:
    """What is recorded of one migration while it is run."""

    def __init__(self, database: Database, keyspace: str, migration: Migration, holder: str) -> None:
        self._database, self._keyspace = database, keyspace
        self._values = {
            "book": BOOK,
            "name": migration.name,
            "title": migration.title,
            "checksum": migration.checksum,
            "store_version": __version__,
            "holder": holder,
        }
        self._began_s = time.monotonic()

    def begin(self) -> None:
        """Record that it has begun; written late, that does not undo its end."""
        self._write(begun_at=_now())

    def end(self, outcome: str) -> None:
        """Record that nothing of it is left to do; the duration is that of the last run."""
        self._write(outcome=outcome, ended_at=_now(), duration_s=round(time.monotonic() - self._began_s, 3))

    def _write(self, **more: Any) -> None:
        """Write the record anew.

        Consistency: the write level. Idempotent. Partition: (book).
        """
        values = {**self._values, **more}
        markers = ", ".join(f"%({name})s" for name in values)
        cql = f"INSERT INTO {self._keyspace}.schema_migrations ({', '.join(values)}) VALUES ({markers})"  # noqa: S608
        insist(partial(self._database.session.execute, cql, values))


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
