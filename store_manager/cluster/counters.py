"""What each node has counted since its start, by which one sees how the cluster heals itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from store_manager.cluster.management import Management


@dataclass(frozen=True)
class Healing:
    """Hints that a node has stored for others, replayed to them or failed to; rows that it mended as it read them."""

    hints_stored: int
    hints_replayed: int
    hints_failed: int
    read_repairs: int


def read(management: Management) -> Healing:
    """Return what a node has counted since its start."""
    return Healing(
        hints_stored=management.count("Storage", "TotalHints"),
        hints_replayed=management.count("HintsService", "HintsSucceeded"),
        hints_failed=management.count("HintsService", "HintsFailed"),
        read_repairs=management.count("ReadRepair", "RepairedBlocking"),
    )
