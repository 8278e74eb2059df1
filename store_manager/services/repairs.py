"""Whether the cluster is repaired in time: what was deleted comes back if it is not, and Paxos state piles up.

The repair itself stands in `store_manager.cluster`, which the service does not need.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from store_manager.dao import repairs
from store_manager.services import clocks

if TYPE_CHECKING:
    from datetime import datetime

    from store_manager.database.ages import Ages

FULL, PAXOS = "full", "paxos"


def find_alarms(ages: Ages | None, copies: int, *, percent: int, paxos_hours: int) -> list[str]:
    """Return a sentence for each repair that is overdue: the full one, and that of Paxos.

    The one is by this share of `gc_grace_seconds`, the other by so many hours; 0 never alarms. A keyspace with one copy
    of each row has nothing to compare. Raises DatabaseUnavailable.
    """
    if ages is None or copies == 1 or percent == paxos_hours == 0:
        return []
    full, paxos, now = _find_beginning(FULL), _find_beginning(PAXOS), clocks.now()
    # A full repair includes that of Paxos.
    latest = max((began for began in (full, paxos) if began), default=None)
    found = judge(ages, full, percent, now), judge_paxos(ages, latest, paxos_hours, now)
    return [sentence for sentence in found if sentence]


def judge(ages: Ages, repaired_at: datetime | None, percent: int, now: datetime) -> str | None:
    """Return what is to be said of a last full repair that began then, None if it is in time or never overdue."""
    age = now - (repaired_at or ages.made_at)
    if percent == 0 or age < ages.gc_grace * percent / 100:
        return None
    since = "The last full repair began" if repaired_at else "There was no full repair, and the keyspace was made"
    return (
        f"{since} {_say(age)} ago, more than {percent} % of gc_grace_seconds ({_say(ages.gc_grace)}): run "
        "`store-manager cluster repair`, or rows that were deleted may come back"
    )


def judge_paxos(ages: Ages, repaired_at: datetime | None, hours: int, now: datetime) -> str | None:
    """Return what is to be said of a last Paxos repair that began then, None if it is in time or never overdue."""
    age = now - (repaired_at or ages.made_at)
    if hours == 0 or age < timedelta(hours=hours):
        return None
    since = "The last Paxos repair began" if repaired_at else "There was no Paxos repair, and the keyspace was made"
    return (
        f"{since} {_say(age)} ago, more than PAXOS_REPAIR_ALARM_HOURS ({hours}): run `store-manager cluster repair "
        "--paxos`, or the nodes keep the state of every conditional write, and `system.paxos` grows"
    )


def _find_beginning(kind: str) -> datetime | None:
    last = repairs.find_repair(kind)
    return last.started_at if last else None


def _say(time: timedelta) -> str:
    days = time.total_seconds() / 86_400
    return f"{days:.1f} days" if days >= 1 else f"{time.total_seconds() / 3600:.1f} hours"
