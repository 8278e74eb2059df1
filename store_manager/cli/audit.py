"""`store-manager audit`: check every invariant of a store while it sells, and mend what has one right answer.

Thin: the work stands in `store_manager.services.audit`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from store_manager import dao, logs, settings
from store_manager.dao import scans
from store_manager.database import connections
from store_manager.services import audit as audits
from store_manager.services.findings import Finding, Patience, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_SHOWN = 1_000
"""How many findings are shown one by one; all are counted."""

out = Console(highlight=False)
progress = Console(stderr=True, highlight=False)


@dataclass
class _Report:
    """What an audit found and how much it looked at."""

    shown: list[Finding] = field(default_factory=list)
    looked_at: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    started_s: float = field(default_factory=time.monotonic)

    def add(self, finding: Finding) -> None:
        self.counts[_state(finding)] += 1
        if len(self.shown) < MOST_SHOWN:
            self.shown.append(finding)

    @property
    def wrong(self) -> int:
        return self.counts[Severity.WRONG]

    def to_json(self, keyspace: str) -> dict[str, Any]:
        return {
            "keyspace": keyspace,
            "duration_s": round(time.monotonic() - self.started_s, 3),
            "looked_at": dict(self.looked_at),
            "wrong": self.wrong,
            "in_flight": self.counts[Severity.IN_FLIGHT],
            "repaired": self.counts[REPAIRED],
            "findings": [
                {
                    "code": one.code,
                    "severity": one.severity,
                    "what": one.what,
                    "where": one.where,
                    "repairable": one.repairable,
                    "repaired": one.repaired,
                }
                for one in self.shown
            ],
        }


REPAIRED = "repaired"


def _state(finding: Finding) -> str:
    return REPAIRED if finding.repaired else finding.severity.value


@click.command()
@click.option("--repair", is_flag=True, help="Mend what has one right answer, as recovery would.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead, for machines.")
def audit(*, repair: bool, as_json: bool) -> None:
    """Walk the whole store while it sells, and check every invariant; exit 1 if anything is wrong, and stays so.

    What changed within the last ORDER_PENDING_LIMIT_S may be the work of a request that is under way: it is reported
    as in flight, and is no breach.
    """
    logs.configure("WARNING", "console")
    own = settings.load()
    database = connections.connect(own)
    report = _Report()
    try:
        connections.prepare_all((*dao.REHEARSALS, scans.rehearse))
        walks = audits.plan(Patience(timedelta(seconds=own.order_pending_limit_s)))
        with _bars([walk.name for walk in walks]) as bars:
            for event in audits.run(walks, repair=repair):
                if isinstance(event, Finding):
                    report.add(event)
                else:
                    report.looked_at[event.walk] = event.looked_at
                    bars.move(event)
    finally:
        database.close()
    if as_json:
        click.echo(json.dumps(report.to_json(own.cassandra_keyspace), indent=2))
    else:
        _print(report, own.cassandra_keyspace)
    if report.wrong:
        raise SystemExit(1)


@dataclass(frozen=True)
class _Bars:
    """One bar for each walk."""

    progress: Progress
    tasks: dict[str, Any]

    def move(self, event: audits.Progress) -> None:
        self.progress.update(self.tasks[event.walk], completed=event.reached, looked_at=f"{event.looked_at:,}")


@contextmanager
def _bars(names: list[str]) -> Iterator[_Bars]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[looked_at]}", justify="right"),
    )
    with Progress(*columns, console=progress, transient=True) as shown:
        yield _Bars(shown, {name: shown.add_task(name, total=1, looked_at="") for name in names})


def _print(report: _Report, keyspace: str) -> None:
    if report.shown:
        table = Table("", "code", "where and what", box=None, pad_edge=False)
        for one in report.shown:
            state = _state(one) + ("" if one.repaired or one.repairable else ", not repairable")
            table.add_row(state, one.code, f"{one.where}\n{one.what}")
        out.print(table)
    hidden = sum(report.counts.values()) - len(report.shown)
    if hidden:
        out.print(f"... and {hidden:,} more")
    looked_at = ", ".join(f"{number:,} {name}" for name, number in report.looked_at.items() if number)
    out.print(f"Keyspace {keyspace}: looked at {looked_at or 'nothing'} in {report.to_json(keyspace)['duration_s']} s")
    out.print(
        f"{report.wrong:,} wrong, {report.counts[REPAIRED]:,} repaired, {report.counts[Severity.IN_FLIGHT]:,} in flight"
    )
