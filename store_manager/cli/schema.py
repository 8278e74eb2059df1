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

from store_manager import logs, settings
from store_manager.database.connections import open_database
from store_manager.schema.plans import plan
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
    """Print the exact CQL that `sync` would run, and why; change nothing."""
    with _connected() as (database, own):
        steps = plan(database, own).steps
    if as_json:
        _print_json(own, steps)
    elif steps:
        _print_plan(steps)
    else:
        _print_in_line(own)


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


def _print_plan(steps: Sequence[Step]) -> None:
    table = Table("", "step", "why", box=None, pad_edge=False)
    for number, step in enumerate(steps, start=1):
        table.add_row(str(number), step.what, step.why)
    out.print(table)
    for step in steps:
        out.print(f"\n{step.cql};", markup=False)


def _print_in_line(own: Settings) -> None:
    out.print(f"Keyspace {own.cassandra_keyspace} has all that the Models declare: nothing to do")


def _print_json(own: Settings, steps: Sequence[Step], **more: Any) -> None:
    document = {"keyspace": own.cassandra_keyspace, "steps": [asdict(step) for step in steps], **more}
    click.echo(json.dumps(document, indent=2))
