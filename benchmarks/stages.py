"""What every benchmark stands on: its cluster, and what it says about where and how it was run."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import uuid
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from rich import box
from rich.table import Table

from store_manager import logs
from store_manager.database.connections import open_database
from store_manager.lab.clusters import Cluster
from store_manager.schema.syncs import sync
from store_manager.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

NETWORK = "127.0.10"
LAB = Path(__file__).parent.parent / ".lab"
WIDTH = 140
"""How wide tables are, whatever they are printed to."""


@contextmanager
def cluster(name: str, nodes: int, *, thorough: bool = False) -> Iterator[Cluster]:
    """Bring up a cluster without a past, and leave nothing of it; a `thorough` one gets quick after some minutes."""
    made = Cluster(LAB, nodes, name=name, network=NETWORK, owned=True, thorough=thorough)
    made.destroy()
    made.up()
    try:
        yield made
    finally:
        made.down()
        made.destroy()


def prepare(made: Cluster) -> Settings:
    """Make a keyspace of its own on a cluster that is up, and return the settings to use it."""
    logs.configure("WARNING", "console")  # what is shown are the figures
    settings = replace(
        Settings(),
        cassandra_hosts=tuple(made.addresses),
        cassandra_keyspace=f"bench_{uuid.uuid4().hex[:10]}",
        cassandra_replication_factor=min(3, len(made.addresses)),
    )
    database = open_database(settings)
    try:
        sync(database, settings)
    finally:
        database.close()
    return settings


def table(*headings: str) -> Table:
    """Return an empty table of figures, which is printed as Markdown has it."""
    made = Table(box=box.MARKDOWN)
    for heading in headings:
        made.add_column(heading, justify="left" if heading == "way" else "right", no_wrap=True)
    return made


def about() -> dict[str, Any]:
    """Return the command, the machine and the date of this run."""
    return {
        "command": shlex.join(["python", "-m", _module(), *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def describe() -> str:
    """Return what `about` says, as lines for people."""
    return "\n".join(f"{name}: {value}" for name, value in about().items())


def write_json(path: str, rows: list[dict[str, Any]], **sums: Any) -> None:
    """Write all measurements and what they come to, with what `about` says."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({**about(), **sums, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def _module() -> str:
    return f"benchmarks.{Path(sys.argv[0]).stem}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())
