"""What a node killed at a bad moment leaves behind, and would refuse to start on. Only for nodes that do not run.

When a compaction is over, Cassandra 4.1 commits its transaction log, then removes the old tables' files one by one, and
the log at the end. Killed in between, it finds old files whose newest date is no longer the one of the log, takes them
for somebody's backup and refuses to start ("Unexpected files detected for sstable").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

REMOVED = re.compile(r"^REMOVE:\[(.+),\d+,\d+\]", re.MULTILINE)


def finish_removals(data: Path) -> list[Path]:
    """Remove what is left of the tables that a committed compaction was removing; return the files removed.

    A table counts as being removed once its data file is gone: Cassandra begins with it. Whole tables are left to
    Cassandra's own check.
    """
    removed: list[Path] = []
    for log in data.rglob("*_txn_*.log"):
        text = log.read_text(encoding="utf-8")
        if not text.rstrip().rpartition("\n")[2].startswith("COMMIT:["):
            continue
        for table in (match.rpartition("/")[2] for match in REMOVED.findall(text)):
            if not (log.parent / f"{table}Data.db").exists():
                removed += log.parent.glob(f"{table}*")
    for file in removed:
        file.unlink()
    return removed
