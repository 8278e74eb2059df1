"""Four clients draw 25 numbers each from one roll: first by plain writes, then by lightweight transactions.

    python docs/labs/race.py 127.0.0.1,127.0.0.2,127.0.0.3

To draw is to read the highest number so far and to write the next one, with one's own name on it, at QUORUM.
"""

from __future__ import annotations

import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cassandra import ConsistencyLevel, OperationTimedOut, WriteTimeout
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import DCAwareRoundRobinPolicy, TokenAwarePolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from cassandra.cluster import Session

CLIENTS, TIMES = 4, 25
LONGEST_PAUSE_S = 0.1
REPLICATION = "{'class': 'NetworkTopologyStrategy', 'dc1': 3}"
TABLE = "CREATE TABLE race.{} (roll int, number int, drawn_by text, PRIMARY KEY (roll, number))"


def highest(session: Session, table: str) -> int:
    """Return the highest number that was drawn."""
    return session.execute(f"SELECT max(number) FROM race.{table} WHERE roll = 1").one()[0] or 0  # noqa: S608


def draw_plainly(session: Session, name: str) -> None:
    """Write the next number, whoever else has written it meanwhile."""
    number = highest(session, "plain") + 1
    session.execute("INSERT INTO race.plain (roll, number, drawn_by) VALUES (1, %s, %s)", [number, name])


def draw_by_lwt(session: Session, name: str) -> None:
    """Write the next number if nobody has it; else begin again a moment later."""
    while not write_if_free(session, highest(session, "lwt") + 1, name):
        time.sleep(random.uniform(0, LONGEST_PAUSE_S))  # noqa: S311 - spreads retries, keeps no secret


def write_if_free(session: Session, number: int, name: str) -> bool:
    """Tell whether the number is ours. What timed out may have happened: the same, sent again, finds its own name."""
    insert = "INSERT INTO race.lwt (roll, number, drawn_by) VALUES (1, %s, %s) IF NOT EXISTS"
    while True:
        try:
            answer = session.execute(insert, [number, name]).one()
        except (WriteTimeout, OperationTimedOut):
            time.sleep(LONGEST_PAUSE_S)
        else:
            return answer.applied or answer.drawn_by == name


def race(session: Session, title: str, table: str, draw: Callable[[Session, str], None]) -> None:
    """Let everybody draw, and print how many numbers were given out for all these acknowledgements."""
    session.execute(TABLE.format(table))
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda client: [draw(session, f"{client}/{n}") for n in range(TIMES)], range(CLIENTS)))
    given = session.execute(f"SELECT count(*) FROM race.{table} WHERE roll = 1").one()[0]  # noqa: S608
    print(f"{title}: {CLIENTS * TIMES} were told that they have a number, {given} numbers were given out")
    print("Each has a number of its own." if given == CLIENTS * TIMES else "Some have the same number.")


def main() -> None:
    """Race twice, in a keyspace that is removed afterwards."""
    policy = TokenAwarePolicy(DCAwareRoundRobinPolicy("dc1"))
    profile = ExecutionProfile(policy, consistency_level=ConsistencyLevel.QUORUM, request_timeout=20)
    cluster = Cluster(sys.argv[1].split(","), execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=5)
    session = cluster.connect()
    session.execute("DROP KEYSPACE IF EXISTS race")
    session.execute(f"CREATE KEYSPACE race WITH replication = {REPLICATION}")
    race(session, "Plain writes", "plain", draw_plainly)
    race(session, "Lightweight transactions", "lwt", draw_by_lwt)
    session.execute("DROP KEYSPACE race")
    cluster.shutdown()


if __name__ == "__main__":
    main()
