"""What each node says of its cluster, asked over CQL, and what is still missing for the cluster to be up.

An open port is no ready cluster: nodes accept clients before they know each other or agree on the schema. Nothing here
starts or signals a process.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cassandra import DriverException, OperationTimedOut
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.connection import ConnectionException
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.protocol import ErrorMessage

from store_manager.lab.nodes import CQL_PORT
from store_manager.rings import letter_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ANSWER_TIMEOUT_S = 2.0
PROTOCOL_VERSION = 5
NORMAL = "NORMAL"


@dataclass(frozen=True)
class Peer:
    """One node as another one (or itself) sees it by gossip.

    `generation` tells its starts apart; within one, `heartbeat` grows for as long as it is alive.
    """

    status: str
    generation: int
    heartbeat: int

    @property
    def letter(self) -> str:
        """The second letter of nodetool's state; `?` before anything is known."""
        return letter_of(self.status)


@dataclass(frozen=True)
class View:
    """What one node knows: its schema, the tokens of every node, and how gossip sees every node, itself included.

    `reads` and `writes` are what it did itself for the tables of users, as one of their copies, since it started.
    """

    schema_version: str
    tokens: Mapping[str, tuple[int, ...]]
    peers: Mapping[str, Peer]
    reads: int = 0
    writes: int = 0


class Observer:
    """A CQL connection to one node and no other."""

    def __init__(self, address: str) -> None:
        """Connect to nothing yet."""
        self.address = address
        self._cluster: Cluster | None = None
        self._session: Session | None = None

    def look(self) -> View | None:
        """Return what the node says now, None as long as it does not answer."""
        try:
            return self._ask(self._session or self._connect())
        except (NoHostAvailable, OperationTimedOut, ConnectionException, DriverException, ErrorMessage, OSError):
            self.close()
            return None

    def close(self) -> None:
        """Let go of the connection."""
        if self._cluster is not None:
            self._cluster.shutdown()
        self._cluster = self._session = None

    def _connect(self) -> Session:
        # The driver takes long to find out that nobody listens, and logs it.
        socket.create_connection((self.address, CQL_PORT), ANSWER_TIMEOUT_S).close()
        profile = ExecutionProfile(WhiteListRoundRobinPolicy([self.address]), request_timeout=ANSWER_TIMEOUT_S)
        self._cluster = Cluster(
            [self.address],
            port=CQL_PORT,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            protocol_version=PROTOCOL_VERSION,
            connect_timeout=ANSWER_TIMEOUT_S,
            control_connection_timeout=ANSWER_TIMEOUT_S,
            schema_metadata_enabled=False,
            token_metadata_enabled=False,
            executor_threads=1,
        )
        self._session = self._cluster.connect()
        return self._session

    def _ask(self, session: Session) -> View:
        local = session.execute("SELECT schema_version, tokens FROM system.local WHERE key = 'local'").one()
        others = session.execute("SELECT peer, tokens FROM system.peers_v2")
        gossip = session.execute(
            "SELECT address, generation, heartbeat, status_with_port FROM system_views.gossip_info"
        )
        tokens = {self.address: local.tokens} | {row.peer: row.tokens for row in others if row.tokens}
        peers = {
            row.address: Peer((row.status_with_port or "").partition(",")[0], row.generation, row.heartbeat)
            for row in gossip
        }
        ordered = {address: tuple(sorted(map(int, some or ()))) for address, some in tokens.items()}
        reads, writes = (self._count(session, what) for what in ("read", "write"))
        return View(str(local.schema_version), ordered, peers, reads, writes)

    @staticmethod
    def _count(session: Session, what: str) -> int:
        rows = session.execute(f"SELECT keyspace_name, count FROM system_views.local_{what}_latency")  # noqa: S608
        return sum(row.count for row in rows if not row.keyspace_name.startswith("system"))


class Watch:
    """Looks at nodes again and again, so that a heartbeat that moves is told from one that is only remembered."""

    def __init__(self, addresses: Iterable[str]) -> None:
        """Make one observer for each address."""
        self.views: dict[str, View | None] = {}
        self._observers = [Observer(address) for address in addresses]
        self._first_beats: dict[tuple[str, str, int], int] = {}
        self._alive: set[tuple[str, str, int]] = set()

    def look(self) -> None:
        """Ask every node once."""
        for observer in self._observers:
            view = self.views[observer.address] = observer.look()
            for address, peer in view.peers.items() if view else ():
                seen = observer.address, address, peer.generation
                if self._first_beats.setdefault(seen, peer.heartbeat) < peer.heartbeat:
                    self._alive.add(seen)

    @property
    def answering(self) -> set[str]:
        """The addresses that answered the last look."""
        return {address for address, view in self.views.items() if view}

    def state(self, observer: str, address: str) -> str | None:
        """Return how `observer` sees a node, in nodetool's letters (UN, DN, UJ ...); None when it does not answer."""
        view = self.views.get(observer)
        if view is None:
            return None
        peer = view.peers.get(address)
        if peer is None:
            return "?"
        return ("U" if (observer, address, peer.generation) in self._alive else "D") + peer.letter

    def missing(self) -> list[str]:
        """Return what still keeps the nodes from being one cluster, a phrase for each; empty when they are."""
        found = []
        for observer, view in self.views.items():
            if view is None:
                found.append(f"{observer} does not answer CQL")
                continue
            found += [
                f"{observer} does not see {address} as up and normal"
                for address in self.views
                if self.state(observer, address) != "UN" or address not in view.tokens
            ]
        versions = {view.schema_version for view in self.views.values() if view}
        if len(versions) > 1:
            found.append(f"the nodes have {len(versions)} versions of the schema")
        return found

    def close(self) -> None:
        """Let go of every connection."""
        for observer in self._observers:
            observer.close()
