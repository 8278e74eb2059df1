"""When the cluster was last repaired. What follows from that is decided by the services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_manager.models.repairs import Repair

if TYPE_CHECKING:
    from datetime import datetime


def find_repair(kind: str) -> Repair | None:
    """Return the last complete repair of this kind.

    Consistency: the read level. Idempotent. Partition: (kind).
    """
    repair: Repair | None = Repair.objects(kind=kind).first()
    return repair


def note_repair(kind: str, *, started_at: datetime, finished_at: datetime, nodes: int) -> None:
    """Note a complete repair.

    Consistency: the write level. Idempotent. Partition: (kind).
    """
    Repair.create(kind=kind, started_at=started_at, finished_at=finished_at, nodes=nodes)


def rehearse() -> None:
    """Run each query of this module once, so that its statements are prepared."""
    find_repair("")
    Repair.create(kind="", started_at=None, finished_at=None, nodes=0)
