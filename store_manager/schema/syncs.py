"""A sync: under the lock, what the Models add, then the migrations that are pending, then what was allowed to go.

Every step is run by `store_manager.schema.runs`. Whatever stops a sync, the next one goes on from what there is then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from store_manager.errors import StoreError
from store_manager.models import MODELS
from store_manager.schema import locks, migrations
from store_manager.schema.agreements import learn_schema, require_agreement, require_nodes
from store_manager.schema.books import SCHEMA_MODELS
from store_manager.schema.faults import MigrationFailed, SchemaRefused
from store_manager.schema.histories import APPLIED, MIGRATION, NOT_NEEDED, Entry, Event, record
from store_manager.schema.marks import Marks
from store_manager.schema.migrations import Journal, Migration
from store_manager.schema.moves import Migrating
from store_manager.schema.notes import note_keyspace, note_table
from store_manager.schema.plans import plan
from store_manager.schema.runs import Runner, Terms, send
from store_manager.schema.steps import Step
from store_manager.schema.tables import declare, identify

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_manager.database.connections import Database
    from store_manager.models import StoreModel
    from store_manager.schema.runs import News
    from store_manager.schema.steps import Plan
    from store_manager.settings import Settings

PURPOSE = "schema sync"


@dataclass(frozen=True)
class Report:
    """What a sync did: `steps` were run, `left` are those that nobody has allowed.

    `was_empty` says that the keyspace was created whole, so that the migrations in `not_needed` were not run.
    """

    steps: tuple[Step, ...] = ()
    applied: tuple[str, ...] = ()
    not_needed: tuple[str, ...] = ()
    left: tuple[Step, ...] = ()
    was_empty: bool = False

    @property
    def did_nothing(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.steps or self.applied or self.not_needed)


def sync(
    database: Database,
    settings: Settings,
    models: tuple[type[StoreModel], ...] = MODELS,
    *,
    terms: Terms | None = None,
    tell: Callable[[News], object] = lambda _news: None,
) -> Report:
    """Bring the keyspace of the settings in line with the Models and run what is pending of the migrations.

    Several may do this at once: one does the work, the others wait for it and find nothing to do. It may be run again
    after any interruption. `tell` hears of each step before it is run, and how far a back-fill is. Raises SchemaRefused
    before anything is run if the plan is blocked, what `Runner.run` raises at the first step that fails, LockHeld,
    LockLost, MigrationChanged, MigrationFailed, and ConfirmationMissing, which says what an operator has to say.
    """
    terms = terms or Terms()
    keyspace = settings.cassandra_keyspace
    known = migrations.read_migrations(migrations.find_directory(settings, terms.migrations))
    _look(database, terms)
    planned = _plan(database, settings, models)
    pending = migrations.choose_pending(known, migrations.read_records(database, keyspace))
    if not (migrations.is_empty(database, keyspace) or planned.allowing(terms.allow) or pending):
        return Report(left=planned.destructive)
    made = _make_books(database, settings, terms, tell)
    hold = locks.hold(database, keyspace, PURPOSE, lease_s=settings.schema_lease_s, wait_s=terms.wait_s, tell=tell)
    with hold as lease:
        return _Sync(Runner(database, settings, lease, terms, tell), models, known).run(made)


@dataclass
class _Sync:
    """A sync that holds the lock."""

    runner: Runner
    models: tuple[type[StoreModel], ...]
    known: list[Migration]

    def run(self, made: list[Step]) -> Report:
        """Do what there is to do; `made` are the steps that made the keyspace ready to be locked."""
        database, settings, terms = self.runner.database, self.runner.settings, self.runner.terms
        _look(database, terms)
        was_empty = migrations.is_empty(database, settings.cassandra_keyspace)
        # Before the first table is made: a sync that is interrupted leaves a keyspace that is empty no more.
        not_needed = self._pass_over() if was_empty else ()
        if was_empty:
            self.runner.done += [step for step in made if step.what.startswith("create keyspace")]
        planned = _plan(database, settings, self.models)
        pending = migrations.choose_pending(self.known, migrations.read_records(database, settings.cassandra_keyspace))
        for step in planned.runnable:
            self.runner.run(step)
        for migration in pending:
            self._migrate(migration)
        # Last, because a migration may read what is given up.
        if pending:
            planned = _plan(database, settings, self.models)
        destructive = set(planned.destructive)
        for step in planned.allowing(terms.allow):
            if step in destructive or pending:
                self.runner.run(step)
        left = tuple(step for step in planned.destructive if step.destroys not in terms.allow)
        learn_schema(database)
        applied = tuple(migration.name for migration in pending)
        return Report(tuple(self.runner.done), applied, not_needed, left, was_empty=was_empty)

    def _pass_over(self) -> tuple[str, ...]:
        records = migrations.read_records(self.runner.database, self.runner.settings.cassandra_keyspace)
        pending = migrations.choose_pending(self.known, records)
        for migration in pending:
            self.runner.lease.require()
            self._journal(migration).end(NOT_NEEDED)
            event = Event(MIGRATION, _say(migration), self.runner.lease.holder, outcome=NOT_NEEDED)
            record(self.runner.database, self.runner.settings.cassandra_keyspace, event)
        return tuple(migration.name for migration in pending)

    def _migrate(self, migration: Migration) -> None:
        database, keyspace = self.runner.database, self.runner.settings.cassandra_keyspace
        self.runner.tell(f"migration {_say(migration)}")
        self.runner.lease.require()
        journal = self._journal(migration)
        entry = Entry(database, keyspace, Event(MIGRATION, _say(migration), self.runner.lease.holder))
        journal.begin()
        marks = Marks(database, keyspace, migration.name, migration.checksum, self.runner.lease.holder)
        try:
            migration.migrate(Migrating(migration.name, self.runner, marks))
        except StoreError:
            raise
        except Exception as error:
            raise MigrationFailed(
                f"Migration {migration.name} failed ({type(error).__name__}: {error}); mend it and run the sync again"
            ) from error
        self.runner.lease.require()
        journal.end(APPLIED)
        entry.end(APPLIED)

    def _journal(self, migration: Migration) -> Journal:
        runner = self.runner
        return Journal(runner.database, runner.settings.cassandra_keyspace, migration, runner.lease.holder)


def _look(database: Database, terms: Terms) -> None:
    """Know the schema, after every node has said that it has the same one."""
    require_nodes(database, terms.without)
    require_agreement(database, terms.without)
    learn_schema(database)


def _say(migration: Migration) -> str:
    return f"{migration.name}: {migration.title}"


def _plan(database: Database, settings: Settings, models: tuple[type[StoreModel], ...]) -> Plan:
    planned = plan(database, settings, models)
    if planned.blocked:
        differences = [f"{step.what}: {step.why}" for step in planned.blocked]
        raise SchemaRefused(
            f"Keyspace {settings.cassandra_keyspace} differs from the Models in what can't be changed in place, so "
            f"nothing was run: {'; '.join(differences)}",
            differences=differences,
        )
    return planned


def _make_books(database: Database, settings: Settings, terms: Terms, tell: Callable[[News], object]) -> list[Step]:
    """Make the keyspace and the tables in which the lock, the history and the migrations are kept; return the steps.

    Nobody can hold the lock before. A keyspace has no id, and each of these tables gets its id from its name: any
    number of first-comers make the same ones.
    """
    coordinator = database.cluster.get_control_connection_host()
    steps = _plan_books(database, settings)
    for step in steps:
        require_nodes(database, terms.without)
        tell(step)
        send(database, step, coordinator, terms.without)
    return steps


def _plan_books(database: Database, settings: Settings) -> list[Step]:
    keyspace = settings.cassandra_keyspace
    known = database.cluster.metadata.keyspaces.get(keyspace)
    steps = []
    if known is None:
        cql = note_keyspace(keyspace, {settings.cassandra_datacenter: settings.cassandra_replication_factor})
        steps.append(Step(f"create keyspace {keyspace}", cql, "there is none of this name"))
    for table in declare(SCHEMA_MODELS):
        existing = None if known is None else known.tables.get(table.name)
        for cql in note_table(keyspace, table.model, existing):
            if existing is None:
                what, statement = f"create table {table.name}", f"{cql} AND ID = {identify(keyspace, table.name)}"
            else:
                what, statement = f"add to table {table.name}", cql
            steps.append(Step(what, statement, "kept by schema sync"))
    return steps
