"""`store-manager schema`: bring a keyspace in line with the Models.

Thin: the work stands in `store_manager.schema`.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from store_manager import logs, settings
from store_manager.database.connections import open_database
from store_manager.schema.plans import plan
from store_manager.schema.steps import Plan
from store_manager.schema.syncs import sync

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from store_manager.database.connections import Database
    from store_manager.schema.steps import Step
    from store_manager.settings import Settings

out = Console(highlight=False, soft_wrap=True)
progress = Console(stderr=True, highlight=False, soft_wrap=True)

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead, for machines.")


@click.group()
def schema() -> None:
    """Bring a keyspace in line with the Models.

    Which cluster and which keyspace, the settings CASSANDRA_… say (see `store-manager settings`). An error is one line
    on standard error and exit status 1.
    """


@schema.command("plan")
@as_json
def show_plan(*, as_json: bool) -> None:
    """Print the exact CQL of every difference, in order, how safe each step is, and why; change nothing.

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
    if as_json:
        _print_json(own, planned.steps, remarks=list(planned.remarks))
    else:
        _print_plan(own, planned)
    if planned.blocked:
        raise SystemExit(1)


@schema.command("check")
@click.option(
    "--despite-leftovers",
    is_flag=True,
    help="Do not mind what no Model declares: columns, indexes and tables beyond them, options that were set by hand.",
)
@as_json
def run_check(*, despite_leftovers: bool, as_json: bool) -> None:
    """Tell whether the keyspace is as the Models and the settings say, for pipelines; change nothing.

    \b
    Exit status:
    0  in line
    1  it differs, or there is an error, which is one line on standard error
    2  the command was not understood
    """  # noqa: D301 - how click is told not to wrap these lines
    with _connected() as (database, own):
        planned = plan(database, own)
    steps = planned.lacking if despite_leftovers else planned.steps
    if as_json:
        _print_json(own, steps, in_line=not steps)
    elif steps:
        out.print(f"Keyspace {own.cassandra_keyspace} is not in line with the Models: {_count(steps)}", markup=False)
        for step in steps:
            out.print(f"  {step.what} ({_say_safety(step)}): {step.why}", markup=False)
    else:
        _print_in_line(own)
    if steps:
        raise SystemExit(1)


@schema.command("sync")
@as_json
def run_sync(*, as_json: bool) -> None:
    """Run what `plan` prints, one statement at a time, each agreed on by all nodes before the next.

    It may be run again after any interruption, and by several at once; it does nothing where nothing is missing.
    """
    started = time.monotonic()
    with _connected() as (database, own):
        steps = sync(database, own, tell=lambda step: progress.print(f"  {step.what}", markup=False))
    duration_s = round(time.monotonic() - started, 3)
    if as_json:
        _print_json(own, steps, duration_s=duration_s)
    elif steps:
        out.print(f"Keyspace {own.cassandra_keyspace}: {len(steps)} steps in {duration_s:.1f} s")
    else:
        _print_in_line(own)


@contextmanager
def _connected() -> Iterator[tuple[Database, Settings]]:
    # What the driver has to say about a node that is away, the error says once, for people.
    logs.configure("CRITICAL", "console")
    own = settings.load()
    database = open_database(own)
    try:
        for warning in own.warnings(len(database.health().nodes)):
            progress.print(f"Warning: {warning}", markup=False)
        yield database, own
    finally:
        database.close()


def _print_plan(own: Settings, planned: Plan) -> None:
    if planned.is_in_line:
        _print_in_line(own)
    else:
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


def _print_in_line(own: Settings) -> None:
    out.print(f"Keyspace {own.cassandra_keyspace} is in line with the Models: nothing to do")


def _print_json(own: Settings, steps: Sequence[Step], **more: Any) -> None:
    document = {"keyspace": own.cassandra_keyspace, "steps": [asdict(step) for step in steps], **more}
    click.echo(json.dumps(document, indent=2))
