"""The marks up to which recoveries have finished. What they finish is decided by the services."""

from __future__ import annotations

from store_manager.models.orders import RecoveryMark


def find_mark(purpose: str, shard: int) -> str:
    """Return the position up to which everything is finished, or "" if nothing is.

    Consistency: the read level. Idempotent. Partition: (purpose, shard).
    """
    mark = RecoveryMark.objects(purpose=purpose, shard=shard).first()
    return "" if mark is None else str(mark.position)


def move_mark(purpose: str, shard: int, position: str) -> None:
    """Note that everything up to this position is finished.

    Consistency: the write level. Idempotent; an older mark that overwrites a newer one only costs time. Partition:
    (purpose, shard).
    """
    RecoveryMark.create(purpose=purpose, shard=shard, position=position)


def rehearse() -> None:
    """Run each query of this module once, so that its statements are prepared."""
    find_mark("", 0)
    move_mark("", 0, "")
