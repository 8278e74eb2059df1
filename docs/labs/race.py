"""Four clients add 1 to one counter, 25 times each: first by plain writes, then by lightweight transactions.

    python docs/labs/race.py 127.0.0.1,127.0.0.2,127.0.0.3

Each adds by reading the value, adding 1 and writing the sum, at QUORUM. Every write is acknowledged.
"""

from __future__ import annotations

import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import DCAwareRoundRobinPolicy, TokenAwarePolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from cassandra.cluster import Session

CLIENTS, TIMES = 4, 25
LONGEST_PAUSE_S = 0.1
REPLICATION = "{'class': 'NetworkTopologyStrategy', 'dc1': 3}"


def read(session: Session) -> int:
    """Return the counter's value."""
    return int(session.execute("SELECT value FROM race.counters WHERE id = 1").one()[0])


def add_plainly(session: Session) -> None:
    """Write what was read, plus 1, whatever others have written meanwhile."""
    session.execute("UPDATE race.counters SET value = %s WHERE id = 1", [read(session) + 1])


def add_by_lwt(session: Session) -> None:
    """Write what was read, plus 1, on the condition that it is still there; if it is not, begin again later."""
    value = read(session)
    change = "UPDATE race.counters SET value = %s WHERE id = 1 IF value = %s"
    while not (answer := session.execute(change, [value + 1, value]).one())[0]:
        time.sleep(random.uniform(0, LONGEST_PAUSE_S))  # noqa: S311 - spreads retries, keeps no secret
        value = answer[1]


def race(session: Session, name: str, add: Callable[[Session], None]) -> None:
    """Let everybody add, and print what became of it."""
    session.execute("INSERT INTO race.counters (id, value) VALUES (1, 0) IF NOT EXISTS")
    while not (answer := session.execute("UPDATE race.counters SET value = 0 WHERE id = 1 IF value != 0").one())[0]:
        if answer[1] == 0:
            break
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda _: [add(session) for _ in range(TIMES)], range(CLIENTS)))
    value = read(session)
    print(f"{name}: {CLIENTS * TIMES} were acknowledged, the counter says {value}")
    print("Nothing was lost." if value == CLIENTS * TIMES else "Some were lost.")


def main() -> None:
    """Race twice, in a keyspace that is removed afterwards."""
    policy = TokenAwarePolicy(DCAwareRoundRobinPolicy("dc1"))
    profile = ExecutionProfile(policy, consistency_level=ConsistencyLevel.QUORUM, request_timeout=20)
    cluster = Cluster(sys.argv[1].split(","), execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=5)
    session = cluster.connect()
    session.execute(f"CREATE KEYSPACE IF NOT EXISTS race WITH replication = {REPLICATION}")
    session.execute("CREATE TABLE IF NOT EXISTS race.counters (id int PRIMARY KEY, value int)")
    race(session, "Plain writes", add_plainly)
    race(session, "Lightweight transactions", add_by_lwt)
    session.execute("DROP KEYSPACE race")
    cluster.shutdown()


if __name__ == "__main__":
    main()
