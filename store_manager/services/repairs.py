"""Whether the cluster is repaired in time: what was deleted comes back if it is not.

The repair itself stands in `store_manager.cluster`, which the service does not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_manager.dao import repairs
from store_manager.services import clocks

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from store_manager.database.ages import Ages

FULL, PAXOS = "full", "paxos"


def find_alarms(ages: Ages | None, percent: int, replicas: int) -> list[str]:
    """Return a sentence if the last full repair is older than this share of `gc_grace_seconds`; 0 never alarms.

    A keyspace with one copy of each row has nothing to compare. Raises DatabaseUnavailable.
    """
    if ages is None or percent == 0 or replicas == 1:
        return []
    last = repairs.find_repair(FULL)
    sentence = judge(ages, last.started_at if last else None, percent, clocks.now())
    return [sentence] if sentence else []


def judge(ages: Ages, repaired_at: datetime | None, percent: int, now: datetime) -> str | None:
    """Return what is to be said of a last full repair that began then, None if it is in time."""
    age = now - (repaired_at or ages.made_at)
    if age < ages.gc_grace * percent / 100:
        return None
    since = "The last full repair began" if repaired_at else "There was no full repair, and the keyspace was made"
    return (
        f"{since} {_say(age)} ago, more than {percent} % of gc_grace_seconds ({_say(ages.gc_grace)}): run "
        "`store-manager cluster repair`, or rows that were deleted may come back"
    )


def _say(time: timedelta) -> str:
    days = time.total_seconds() / 86_400
    return f"{days:.1f} days" if days >= 1 else f"{time.total_seconds() / 3600:.1f} hours"
