"""`store-manager schema`: bring a keyspace in line with the Models.

Thin: the work stands in `store_manager.schema`.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from store_manager import logs, settings
from store_manager.database.connections import open_database
from store_manager.schema import books, histories, locks, migrations
from store_manager.schema.faults import ConfirmationMissing
from store_manager.schema.marks import Marks
from store_manager.schema.plans import plan
from store_manager.schema.runs import Progress, Terms, say
from store_manager.schema.steps import Plan
from store_manager.schema.syncs import Report, sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from store_manager.database.connections import Database
    from store_manager.schema.migrations import Migration
    from store_manager.schema.runs import News
    from store_manager.schema.steps import Step
    from store_manager.settings import Settings

TOLD_EVERY_S = 10.0
"""How often the progress of a back-fill is printed where no terminal can show it in place."""

out = Console(highlight=False, soft_wrap=True)
progress = Console(stderr=True, highlight=False, soft_wrap=True)

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead, for machines.")

where_migrations_are = click.option(
    "--migrations",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of the migrations, instead of SCHEMA_MIGRATIONS.",
)


class _InOrder(click.Group):
    """Verbs in the order in which a deployment needs them."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the verbs as they stand in this file."""
        return list(self.commands)


@click.group(cls=_InOrder)
def schema() -> None:
    """Bring a keyspace in line with the Models.

    \b
    To deploy a new version, from its checkout or its image:
    1. store-manager schema plan    see what would be run, how safe it is, and why
    2. store-manager schema sync    run it; whatever stops it, run it again
    3. start the new version of the service, one server after the other

    Which cluster and which keyspace, the settings CASSANDRA_… say (see `store-manager settings`). An error is one line
    on standard error and exit status 1.
    """  # noqa: D301 - how click is told not to wrap these lines


@schema.command("plan", short_help="Print what sync would run; change nothing.")
@where_migrations_are
@as_json
def show_plan(*, directory: Path | None, as_json: bool) -> None:
    """Print the exact CQL of every difference, in order, how safe each step is, and why; change nothing.

    Then it names the migrations that are pending, which sync runs after what the Models add.

    \b
    safe              done in a moment; sync runs it
    online but slow   the store goes on while nodes work; sync runs it
    needs a migration no statement changes this in place
    refused           Cassandra does not take it: another Model or setting is needed

    A step that destroys something is run only if it is named, by sync --allow NAME; the plan prints the names.

    \b
    Exit status:
    0  nothing is blocked: sync may run
    1  a step needs a migration or is refused, or there is an error, which is one line on standard error
    2  the command was not understood
    """  # noqa: D301 - how click is told not to wrap these lines
    with _connected() as (database, own):
        planned = plan(database, own)
        pending = migrations.find_pending(database, own, directory)
    if as_json:
        _print_json(own, planned.steps, remarks=list(planned.remarks), pending=[one.name for one in pending])
    else:
        _print_plan(own, planned, pending)
    if planned.blocked:
        raise SystemExit(1)


@schema.command("check", short_help="Exit with 1 if anything differs, for pipelines.")
@click.option(
    "--despite-leftovers",
    is_flag=True,
    help="Do not mind what no Model declares: columns, indexes and tables beyond them, options that were set by hand.",
)
@where_migrations_are
@as_json
def run_check(*, despite_leftovers: bool, directory: Path | None, as_json: bool) -> None:
    """Tell whether the keyspace is as the Models and the settings say, for pipelines; change nothing.

    A migration that is pending counts as a difference.

    \b
    Exit status:
    0  in line
    1  it differs, or there is an error, which is one line on standard error
    2  the command was not understood
    """  # noqa: D301 - how click is told not to wrap these lines
    with _connected() as (database, own):
        planned = plan(database, own)
        pending = migrations.find_pending(database, own, directory)
    steps = planned.lacking if despite_leftovers else planned.steps
    if as_json:
        in_line = not (steps or pending)
        _print_json(own, steps, in_line=in_line, pending=[migration.name for migration in pending])
    elif steps:
        out.print(f"Keyspace {own.cassandra_keyspace} is not in line with the Models: {_count(steps)}", markup=False)
        for step in steps:
            out.print(f"  {step.what} ({_say_safety(step)}): {step.why}", markup=False)
    elif not pending:
        _print_in_line(own)
    if not as_json:
        _print_pending(pending)
    if steps or pending:
        raise SystemExit(1)


@schema.command("sync", short_help="Run what plan prints, then the pending migrations.")
@click.option("--allow", multiple=True, metavar="NAME", help="Destroy this (column:products.colour); repeatable.")
@click.option("--confirm", multiple=True, metavar="NAME", help="Confirm what a migration asks for; repeatable.")
@click.option("--without", multiple=True, metavar="ADDRESS", help="Leave out this node, which is gone; repeatable.")
@click.option(
    "--wait-s", type=click.FloatRange(min=0), default=600, show_default=True, help="How long to wait for the lock."
)
@click.option(
    "--rows-per-s", type=click.IntRange(min=0), default=0, show_default=True, help="Back-fill no faster; 0: no limit."
)
@where_migrations_are
@as_json
def run_sync(
    *,
    allow: tuple[str, ...],
    confirm: tuple[str, ...],
    without: tuple[str, ...],
    wait_s: float,
    rows_per_s: int,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Run what `plan` prints: first what the Models add, then the migrations that are pending, in their order.

    One sync works at a time; others wait for it. Each statement is agreed on by all nodes before the next. Where
    nothing is missing it does nothing. Whatever stops it, Ctrl-C and kill -9 included, run it again: it goes on from
    what there is then.

    Nothing is destroyed unless it is named by --allow or, on a terminal, agreed to; `plan` prints the names. Every
    node has to answer, but those named by --without.

    \b
    Exit status:
    0    the keyspace is as the Models say, but for what nobody has allowed
    1    an error, which is one line on standard error
    2    the command was not understood
    130  interrupted (143 by SIGTERM); run it again
    """  # noqa: D301 - how click is told not to wrap these lines
    terms = Terms(allow, confirm, without, wait_s, rows_per_s, directory)
    started = time.monotonic()
    with _connected() as (database, own), _interruptible(), _telling() as tell:
        report = _sync_and_ask(database, own, terms, tell, ask=sys.stdin.isatty() and not as_json)
    duration_s = round(time.monotonic() - started, 3)
    if as_json:
        _print_report_json(own, report, duration_s)
    else:
        _print_report(own, report, duration_s)
        destroyed = {step.destroys for step in report.steps}
        for name in allow:
            if name not in destroyed:
                out.print(f"There was nothing to destroy under the name {name}", markup=False)


@schema.command("history", short_help="Print what was done, when, by whom.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many events, at most.")
@as_json
def show_history(*, limit: int, as_json: bool) -> None:
    """Print what was done to the schema, newest first: when, by which version, by whom, how long it took.

    What stays begun was interrupted: it may have happened.
    """
    with _connected() as (database, own):
        kept = books.are_kept(database, own.cassandra_keyspace)
        events = histories.list_events(database, own.cassandra_keyspace, limit) if kept else []
        records = migrations.read_records(database, own.cassandra_keyspace) if kept else {}
        begun = {
            record.name: Marks(database, own.cassandra_keyspace, record.name, record.checksum).describe()
            for record in records.values()
            if not record.is_settled
        }
    if as_json:
        document = {
            "keyspace": own.cassandra_keyspace,
            "events": [event.to_json() for event in events],
            "begun": begun,
        }
        click.echo(json.dumps(document, indent=2))
    else:
        _print_history(own, events, begun)


@schema.command("unlock", short_help="Take the lock from a process that is gone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def unlock(*, yes: bool) -> None:
    """Take the lock away from a process that is gone, so that the next sync need not wait its lease out.

    A process that still works notices before its next statement. What it has sent already can't be held up.
    """
    with _connected() as (database, own):
        keyspace = own.cassandra_keyspace
        state = locks.find_lock(database, keyspace, serial=True) if books.are_kept(database, keyspace) else None
        if state is None or state.holder_id is None:
            out.print(f"Nobody holds the lock of keyspace {keyspace}")
            return
        if not yes:
            click.confirm(f"{state}. Is that process gone, and shall the lock be taken away?", abort=True, err=True)
        if not locks.release(database, keyspace, state):
            raise click.ClickException("Its holder is at work: it has renewed the lock meanwhile, which was left alone")
        event = histories.Event(histories.UNLOCK, f"taken away: {state}", locks.name_self())
        histories.record(database, keyspace, event)
        out.print(f"The lock of keyspace {keyspace} is free ({state})")


@schema.command("new", short_help="Write the skeleton of a migration.")
@click.argument("title")
@where_migrations_are
def write_migration(title: str, directory: Path | None) -> None:
    """Write the skeleton of a migration, for a change that the Models can't make, and print where it is."""
    path = migrations.write_skeleton(migrations.find_directory(settings.load(), directory), title)
    click.echo(path)


def _sync_and_ask(
    database: Database, own: Settings, terms: Terms, tell: Callable[[News], object], *, ask: bool
) -> Report:
    """Sync, and again with what a person agrees to; the lock is free while a person thinks."""
    reports: list[Report] = []
    while True:
        try:
            reports.append(sync(database, own, terms=terms, tell=tell))
        except ConfirmationMissing as missing:
            if not ask or not click.confirm(missing.details["question"], err=True):
                raise
            terms = _agree(terms, missing)
            continue
        left = reports[-1].left if ask else ()
        ask = False  # everything once
        agreed = [step for step in left if click.confirm(f"{step.what} ({step.why}). Shall it?", err=True)]
        if not agreed:
            return _add_up(reports)
        terms = replace(terms, allow=(*terms.allow, *(str(step.destroys) for step in agreed)))


def _agree(terms: Terms, missing: ConfirmationMissing) -> Terms:
    name = missing.details["name"]
    if missing.details["option"] == "--allow":
        return replace(terms, allow=(*terms.allow, name))
    return replace(terms, confirmed=(*terms.confirmed, name))


def _add_up(reports: Sequence[Report]) -> Report:
    return Report(
        steps=tuple(step for report in reports for step in report.steps),
        applied=tuple(name for report in reports for name in report.applied),
        not_needed=tuple(name for report in reports for name in report.not_needed),
        left=reports[-1].left,
        was_empty=any(report.was_empty for report in reports),
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does: what is under way is ended, and the lock is given back."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    except KeyboardInterrupt:
        progress.print("Interrupted; run it again: it goes on from what there is then")
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _telling() -> Iterator[Callable[[News], None]]:
    """Say what is done: each step in a line; how far a back-fill is, on a terminal in one that moves."""
    if progress.is_terminal:
        with progress.status("") as status:
            yield (
                lambda news: (
                    status.update(say(news))
                    if isinstance(news, Progress)
                    else progress.print(f"  {say(news)}", markup=False)
                )
            )
        return
    told_s = -TOLD_EVERY_S

    def tell(news: News) -> None:
        nonlocal told_s
        if isinstance(news, Progress) and news.done not in {0, news.parts}:
            if time.monotonic() - told_s < TOLD_EVERY_S:
                return
            told_s = time.monotonic()
        progress.print(f"  {say(news)}", markup=False)

    yield tell


@contextmanager
def _connected() -> Iterator[tuple[Database, Settings]]:
    # What the driver has to say about a node that is away, the error says once, for people.
    logs.configure("CRITICAL", "console")
    own = settings.load()
    database = open_database(own)
    try:
        for warning in database.warnings(len(database.health().nodes)):
            progress.print(f"Warning: {warning}", markup=False)
        yield database, own
    finally:
        database.close()


def _print_plan(own: Settings, planned: Plan, pending: Sequence[Migration]) -> None:
    if planned.is_in_line and not pending:
        _print_in_line(own)
    if not planned.is_in_line:
        table = Table("", "step", "how safe", box=None, pad_edge=False)
        for number, step in enumerate(planned.steps, start=1):
            table.add_row(str(number), Text(step.what), f"{step.safety}{', only if allowed' if step.destroys else ''}")
        out.print(table)
        for number, step in enumerate(planned.steps, start=1):
            _print_step(number, step)
        out.print()
    for remark in planned.remarks:
        out.print(f"Note: {remark}", markup=False)
    if not planned.is_in_line:
        out.print(f"Keyspace {own.cassandra_keyspace}: {_count(planned.steps)}", markup=False)
    _print_pending(pending)


def _print_pending(pending: Sequence[Migration]) -> None:
    for migration in pending:
        out.print(f"Pending: migration {migration.name}, {migration.title}", markup=False)


def _print_step(number: int, step: Step) -> None:
    out.print(f"\n{number}. {step.what}: {step.why}", markup=False)
    if step.cql:
        out.print(f"{step.cql};", markup=False)
    if step.destroys:
        # Not in the table, which would break a long name that people copy.
        out.print(f"   only with --allow {step.destroys}", markup=False)
    if step.follow_up:
        out.print(f"   afterwards: {step.follow_up}", markup=False)


def _say_safety(step: Step) -> str:
    return f"{step.safety}, only with --allow {step.destroys}" if step.destroys else step.safety


def _count(steps: Sequence[Step]) -> str:
    found = Plan(tuple(steps))
    told = (
        (len(found.runnable), "for sync to run"),
        (len(found.destructive), "to be named by --allow"),
        (len(found.blocked), "blocked"),
    )
    return f"{len(steps)} step{'' if len(steps) == 1 else 's'}, {', '.join(f'{n} {what}' for n, what in told if n)}"


def _print_report(own: Settings, report: Report, duration_s: float) -> None:
    if report.did_nothing:
        _print_in_line(own)
    else:
        out.print(f"Keyspace {own.cassandra_keyspace}: {len(report.steps)} steps in {duration_s:.1f} s")
    for name in report.applied:
        out.print(f"Migration {name} is applied")
    for name in report.not_needed:
        out.print(f"Migration {name} is not needed in a new keyspace")
    for step in report.steps:
        if step.follow_up:
            out.print(f"Now, after {step.what}: {step.follow_up}", markup=False)
    for step in report.left:
        out.print(f"Left as it is: {step.what}, {step.why}; allow it by --allow {step.destroys}", markup=False)


def _print_report_json(own: Settings, report: Report, duration_s: float) -> None:
    click.echo(json.dumps({"keyspace": own.cassandra_keyspace, **asdict(report), "duration_s": duration_s}, indent=2))


def _print_history(own: Settings, events: Sequence[histories.Event], begun: dict[str, list[str]]) -> None:
    if not events:
        out.print(f"Keyspace {own.cassandra_keyspace} has no history")
    for event in events:  # no table, which would break what people copy
        took = "" if event.duration_s is None else f" in {event.duration_s:.1f} s"
        out.print(f"{event.at:%Y-%m-%d %H:%M:%S} UTC  {event.kind} {event.outcome}{took}: {event.what}", markup=False)
        out.print(f"    by {event.holder}, version {event.store_version}", markup=False)
    for name, lines in begun.items():
        out.print(f"\nMigration {name} was begun and has not ended")
        for line in lines:
            out.print(f"  {line}")


def _print_in_line(own: Settings) -> None:
    out.print(f"Keyspace {own.cassandra_keyspace} is in line with the Models: nothing to do")


def _print_json(own: Settings, steps: Sequence[Step], **more: Any) -> None:
    document = {"keyspace": own.cassandra_keyspace, "steps": [asdict(step) for step in steps], **more}
    click.echo(json.dumps(document, indent=2))
