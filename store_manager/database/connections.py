"""The connection of this process to the cluster: how it is made, what it is asked about its health, how it ends.

One process has one connection, made after the fork. Statements stand in `store_manager.dao`; their way out, in
`store_manager.database.sessions`.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING, Any

import structlog
from cassandra import AuthenticationFailed, ConsistencyLevel, ProtocolVersion, UnresolvableContactPoints
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.cqlengine import connection, models
from cassandra.policies import ExponentialReconnectionPolicy
from cassandra.query import dict_factory

from store_manager.database import levels
from store_manager.database.ages import Ages, ask_ages
from store_manager.database.failures import DRIVER_ERRORS
from store_manager.database.health import Health, Part, Reach, ask_nodes
from store_manager.database.heartbeats import Heartbeats
from store_manager.database.policies import IdempotentRetryPolicy, ReplicaPolicy, Suspects, ThriftySpeculation
from store_manager.database.probes import Prober
from store_manager.database.replicas import Replicas
from store_manager.database.rings import Ring, read_ring
from store_manager.database.sessions import PreparingSession, rehearsing
from store_manager.database.statements import Kind
from store_manager.database.surveys import Survey, survey
from store_manager.errors import DatabaseUnavailable, SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from store_manager.settings import Settings

FIRST_RECONNECTION_S = 0.5
SCHEMA_CHANGE_S = 30.0
"""How long one DDL may take; the wait for schema agreement is inside."""

SCHEMA_AGREEMENT_S = 20.0
"""How long all nodes may take to agree on a schema."""

log = structlog.get_logger(__name__)


class Database:
    """An open connection: `session` for cqlengine and everything of the store, `raw` for schema tools."""

    def __init__(
        self, raw: Any, session: PreparingSession, keyspace: str | None, settings: Settings, replicas: Replicas
    ) -> None:
        self.raw = raw
        self.cluster = raw.cluster
        self.session = session
        self.keyspace = keyspace
        self._settings = settings
        self._replicas = replicas
        self._heartbeats = Heartbeats()

    def health(self) -> Health:
        """Ask each node that is up for its clock and its schema, all at once, within `CASSANDRA_PROBE_TIMEOUT_S`."""
        return ask_nodes(self.raw, self._settings.cassandra_datacenter, self._settings.cassandra_probe_timeout_s)

    def reach(self) -> Reach:
        """Return what can be read and written now, as far as this process knows; asks nobody."""
        settings = self._settings
        read, write = settings.cassandra_read_consistency, settings.cassandra_write_consistency
        report = settings.cassandra_report_consistency
        return Reach(
            reading=self._part("LOCAL_ONE" if settings.cassandra_stale_reads else read),
            # A write takes part in Paxos, or notes what one that does has decided.
            writing=min(self._part(write), self._part(settings.cassandra_serial_consistency)),
            exact=(
                ("orders and users", self._part(read), "CASSANDRA_READ_CONSISTENCY"),
                ("reports on sales", self._part(report), "CASSANDRA_REPORT_CONSISTENCY"),
            ),
        )

    def _part(self, level: str) -> Part:
        return Part.of(*self._replicas.count_ranges(self._store, ConsistencyLevel.name_to_value[level]))

    def copies(self) -> int:
        """Return how many copies of each row the keyspace keeps, or shall keep once there is one; asks nobody."""
        return self._replicas.factor_of(self._store) or self._settings.cassandra_replication_factor

    def warnings(self, nodes: int) -> list[str]:
        """Return sentences that say what a data centre of `nodes` nodes can't survive with this keyspace, or loses."""
        own, copies = self._settings, self.copies()
        gaps = levels.find_gaps(own.cassandra_read_consistency, own.cassandra_write_consistency, copies)
        return own.warnings(nodes, copies) + gaps

    @property
    def _store(self) -> str:
        return self.keyspace or self._settings.cassandra_keyspace

    def ages(self) -> Ages | None:
        """Ask how old the keyspace is, and for how long it keeps what was deleted; None if it has no tables."""
        return ask_ages(self.session, self.keyspace) if self.keyspace else None

    def give_up(self, addresses: Collection[str]) -> None:
        """Hold these nodes for down until they answer again: one that hangs, the driver may hold for up.

        It is tried again and again: if the other nodes never missed it, nobody would tell that it is back.
        """
        for host in self.cluster.metadata.all_hosts():
            if host.address in addresses and host.is_up is not False:
                host.set_down()
                self.cluster.profile_manager.on_down(host)
                self.cluster.control_connection.on_down(host)
                self.raw.on_down(host)
                self.cluster._start_reconnector(host, is_host_addition=False)

    def ring(self) -> Ring:
        """Return who is a member and which nodes hold which keys of the store, as the driver knows it now."""
        return read_ring(self.raw, self.keyspace or "")

    def survey(self) -> Survey:
        """Ask each node that is up how it is and whom it sees, all at once, for at most a second."""
        return survey(self.raw, self.keyspace or "", self._heartbeats)

    def close(self) -> None:
        """End the connection; statements that are under way fail."""
        registered = connection._connections.get(_NAME)
        if registered is not None and registered.session is self.session:
            connection.unregister_connection(_NAME)
            models.DEFAULT_KEYSPACE = None
        self.cluster.shutdown()


_NAME = "default"


def connect(settings: Settings, keyspace: str | None = None) -> Database:
    """Connect this process, and let every Model use the connection, in `keyspace` (by default that of the settings).

    Raises DatabaseUnavailable, with a sentence for people, if no node can be used. To connect twice is a bug.
    """
    if _NAME in connection._connections:
        raise RuntimeError("This process is already connected to the database")
    database = open_database(settings, keyspace or settings.cassandra_keyspace)
    models.DEFAULT_KEYSPACE = database.keyspace
    connection.register_connection(_NAME, session=database.session, default=True)
    _log_state(database, settings)
    return database


def open_database(settings: Settings, keyspace: str | None = None) -> Database:
    """Open a connection that no Model uses: for schema tools, and beside another one."""
    suspects = Suspects()
    serial = ConsistencyLevel.name_to_value[settings.cassandra_serial_consistency]
    datacenters: set[str] = set()
    try:
        cluster = _make_cluster(settings, suspects, serial)
        raw = _start(cluster, datacenters)
    except DRIVER_ERRORS as error:
        raise DatabaseUnavailable(_explain(error, datacenters, settings)) from error
    # A new shape may be prepared while a request waits; the driver offers no public way to limit that.
    raw._default_timeout = settings.cassandra_read_timeout_s
    replicas = Replicas(cluster.metadata, settings.cassandra_datacenter, suspects)
    session = PreparingSession(
        raw,
        serial_consistency=serial,
        replicas=replicas,
        prober=Prober(raw, suspects, settings.cassandra_probe_timeout_s),
        shortage_timeout_s=settings.cassandra_shortage_timeout_s,
    )
    return Database(raw, session, keyspace, settings, replicas)


def prepare_all(rehearsals: Iterable[Callable[[], None]]) -> None:
    """Prepare every statement that the rehearsals execute, so that no request has to wait for that."""
    with rehearsing():
        for rehearse in rehearsals:
            rehearse()


def _make_cluster(settings: Settings, suspects: Suspects, serial: int) -> Cluster:
    return Cluster(
        contact_points=list(settings.cassandra_hosts),
        port=settings.cassandra_port,
        protocol_version=ProtocolVersion.V5,
        execution_profiles=_make_profiles(settings, suspects, serial),
        auth_provider=_make_auth(settings),
        ssl_context=_make_tls(settings),
        connect_timeout=settings.cassandra_connect_timeout_s,
        control_connection_timeout=settings.cassandra_connect_timeout_s,
        idle_heartbeat_interval=settings.cassandra_heartbeat_s,
        idle_heartbeat_timeout=settings.cassandra_heartbeat_s,
        # None: the driver's default gives a dead node up for ever after 64 attempts.
        reconnection_policy=ExponentialReconnectionPolicy(
            base_delay=min(FIRST_RECONNECTION_S, settings.cassandra_reconnect_s),
            max_delay=settings.cassandra_reconnect_s,
            max_attempts=None,
        ),
        executor_threads=8,
        prepare_on_all_hosts=False,
        # The driver writes a request of more than 4 kB in pieces, and a batch of sales is longer than that. Without
        # this the second piece waits until the node has acknowledged the first, which it may put off for 40 ms.
        sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        max_schema_agreement_wait=SCHEMA_AGREEMENT_S,
    )


def _start(cluster: Cluster, datacenters: set[str]) -> Any:
    """Return the driver's session; if there is none, leave in `datacenters` where the nodes are."""
    try:
        # By default the driver goes on as soon as one node can be used; the first requests shall find all of them.
        return cluster.connect(wait_for_all_pools=True)
    except BaseException:
        datacenters.update(host.datacenter for host in cluster.metadata.all_hosts() if host.datacenter)
        cluster.shutdown()
        raise


def _make_profiles(settings: Settings, suspects: Suspects, serial: int) -> dict[Any, ExecutionProfile]:
    delay_ms = settings.cassandra_speculative_delay_ms

    def profile(consistency: str, timeout_s: float, *, spread: bool, delay_ms: int = delay_ms) -> ExecutionProfile:
        return ExecutionProfile(
            load_balancing_policy=ReplicaPolicy(settings.cassandra_datacenter, suspects, spread=spread),
            retry_policy=IdempotentRetryPolicy(),
            consistency_level=ConsistencyLevel.name_to_value[consistency],
            serial_consistency_level=serial,
            request_timeout=timeout_s,
            row_factory=dict_factory,
            speculative_execution_policy=ThriftySpeculation(delay_ms / 1000),
        )

    read, write = settings.cassandra_read_consistency, settings.cassandra_write_consistency
    return {
        Kind.READ.value: profile(read, settings.cassandra_read_timeout_s, spread=True),
        Kind.WRITE.value: profile(write, settings.cassandra_write_timeout_s, spread=True),
        Kind.CONDITIONAL.value: profile(
            write,
            settings.cassandra_conditional_timeout_s,
            spread=False,
            delay_ms=settings.cassandra_conditional_delay_ms,
        ),
        EXEC_PROFILE_DEFAULT: profile(read, SCHEMA_CHANGE_S, spread=True),
    }


def _make_auth(settings: Settings) -> PlainTextAuthProvider | None:
    if not settings.cassandra_username:
        return None
    return PlainTextAuthProvider(settings.cassandra_username, settings.cassandra_password)


def _make_tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.cassandra_tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.cassandra_tls_ca or None)
        if settings.cassandra_tls_cert:
            context.load_cert_chain(settings.cassandra_tls_cert, settings.cassandra_tls_key or None)
    except OSError as error:
        raise SettingError(
            "CASSANDRA_TLS_CA, CASSANDRA_TLS_CERT or CASSANDRA_TLS_KEY can't be used: each is a readable file in the "
            f"PEM format, and the key is that of the certificate ({error.strerror or error})"
        ) from error
    return context


# Of what fails while a connection is made the driver keeps the words only.
_TLS_REASON = re.compile(r"\[SSL: \w+\] (.+?)(?: \(_ssl|$)")


def _explain(error: Exception, datacenters: set[str], settings: Settings) -> str:
    where = f"{', '.join(settings.cassandra_hosts)} (port {settings.cassandra_port})"
    if isinstance(error, UnresolvableContactPoints):
        return f"None of CASSANDRA_HOSTS has an address: {', '.join(settings.cassandra_hosts)}"
    # The driver has a list of hosts instead when no node is in the data centre.
    told = error.errors if isinstance(error, NoHostAvailable) else None
    causes = list(told.values()) if isinstance(told, dict) else [error]
    if any(isinstance(cause, AuthenticationFailed) for cause in causes):
        return f"Cassandra at {where} refuses the user or password: see CASSANDRA_USERNAME and CASSANDRA_PASSWORD"
    for reason in (_TLS_REASON.search(str(cause)) for cause in causes):
        if reason:
            return f"TLS with Cassandra at {where} failed ({reason[1]}): see CASSANDRA_TLS_CA and CASSANDRA_TLS_CERT"
    if datacenters and settings.cassandra_datacenter not in datacenters:
        named = ", ".join(sorted(datacenters))
        return f"CASSANDRA_DATACENTER is {settings.cassandra_datacenter!r}, but the nodes at {where} are in: {named}"
    return f"No Cassandra node answers at {where}: is it running, and are CASSANDRA_HOSTS and CASSANDRA_PORT right?"


def describe_survival(settings: Settings, nodes: int, factor: int) -> str:
    """Return a sentence on what `nodes` nodes with `factor` copies of each row go on doing while nodes are away."""
    used = (
        settings.cassandra_read_consistency,
        settings.cassandra_write_consistency,
        settings.cassandra_serial_consistency,
    )
    needed = max(levels.copies_needed(ConsistencyLevel.name_to_value[level], factor) for level in used)
    copies = min(factor, nodes)
    spare, stale = copies - needed, copies - 1
    if spare < 0:
        return f"nothing: {needed} copies have to answer, and {nodes} node(s) hold no more than {copies}"
    told = f"with {spare} node(s) away, everything goes on" if spare else "with a node away, its rows can't be written"
    if stale > spare and settings.cassandra_stale_reads:
        return f"{told}; with {stale} away, products and stocks can still be read"
    return told if spare else "nothing: with a node away, its rows can be neither read nor written"


def _log_state(database: Database, settings: Settings) -> None:
    health = database.health()
    log.info(
        "database_connected",
        nodes=[node.address for node in health.nodes],
        keyspace=database.keyspace,
        survives=describe_survival(settings, len(health.nodes), database.copies()),
    )
    for warning in [*database.warnings(len(health.nodes)), *health.warnings]:
        log.warning("database_warning", reason=warning)
