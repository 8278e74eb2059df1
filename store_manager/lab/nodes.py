"""One node: its addresses, its files, its command line. Nothing here starts or watches a process."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from store_manager.lab.faults import LabError
from store_manager.rings import FIRST_TOKEN, RING_SIZE

if TYPE_CHECKING:
    from pathlib import Path

CQL_PORT = 9042
STORAGE_PORT = 7000
JMX_PORT_BASE = 17190
GROUP_BASE = 52000
MOST_NODES = 9
DATA_CENTER = "dc1"
LOG_TAIL_LINES = 8

EXPORTS = (
    *("java.base/jdk.internal.misc", "java.base/jdk.internal.ref", "java.base/sun.nio.ch"),
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    *("java.rmi/sun.rmi.registry", "java.rmi/sun.rmi.server"),
    "java.sql/java.sql",
)
OPENS = (
    *("java.base/java.lang.module", "java.base/jdk.internal.loader", "java.base/jdk.internal.ref"),
    *("java.base/jdk.internal.reflect", "java.base/jdk.internal.math", "java.base/jdk.internal.module"),
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
)
# All first nodes start at once, each with a token of its own: nothing has to settle or to stream.
SHORTCUTS = (
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=1000",
    "-Dcassandra.consistent.rangemovement=false",
    "-Dcassandra.migration_delay_ms=0",
    # What follows from the ring's delay, as it is without that shortcut: a node that joins, and is silent for half of
    # this, is forgotten, and what is written then never reaches it.
    "-Dcassandra.gossip_quarantine_delay_ms=60000",
)
# A node without others has nobody to announce its end to, and saves the two seconds that it would wait for them.
ALONE = ("-Dcassandra.shutdown_announce_in_ms=0",)
LOGBACK = """\
<configuration>
  <appender name="FILE" class="ch.qos.logback.core.rolling.RollingFileAppender">
    <file>{file}</file>
    <rollingPolicy class="ch.qos.logback.core.rolling.FixedWindowRollingPolicy">
      <fileNamePattern>{file}.%i</fileNamePattern><minIndex>1</minIndex><maxIndex>3</maxIndex>
    </rollingPolicy>
    <triggeringPolicy class="ch.qos.logback.core.rolling.SizeBasedTriggeringPolicy">
      <maxFileSize>10MB</maxFileSize>
    </triggeringPolicy>
    <encoder><pattern>%-5level [%thread] %date{{ISO8601}} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="FILE"/></root>
</configuration>
"""


@dataclass(frozen=True)
class Node:
    """One node of a cluster: `number` counts from 1, `directory` holds all that it writes.

    A `joining` node streams its part from a running cluster when it first starts, so it gets none of the shortcuts of
    the first nodes; it keeps the mark when that is long over. A `thorough` one compiles as nodes in production do.
    """

    number: int
    network: str
    directory: Path
    cluster_name: str
    seeds: tuple[str, ...]
    heap_mb: int
    initial_token: int | None = None
    joining: bool = False
    thorough: bool = False

    @property
    def address(self) -> str:
        """The loopback address that it listens on."""
        return f"{self.network}.{self.number}"

    @property
    def jmx_port(self) -> int:
        """Its JMX port: Cassandra opens it on 127.0.0.1, so it differs between nodes and networks."""
        return JMX_PORT_BASE + 10 * int(self.network.rpartition(".")[2]) + self.number

    @property
    def group(self) -> int:
        """The group of its process where root starts it: it differs between nodes and networks as well."""
        return GROUP_BASE + 10 * int(self.network.rpartition(".")[2]) + self.number

    @property
    def endpoints(self) -> tuple[tuple[str, int], ...]:
        """Every address and port that it opens."""
        return (self.address, CQL_PORT), (self.address, STORAGE_PORT), ("127.0.0.1", self.jmx_port)

    @property
    def process_path(self) -> Path:
        """Where its process is written down."""
        return self.directory / "process.json"

    @property
    def log_path(self) -> Path:
        """Cassandra's own log."""
        return self.directory / "logs" / "system.log"

    @property
    def console_path(self) -> Path:
        """What the process prints, such as the Java runtime's own errors."""
        return self.directory / "logs" / "console.log"

    @property
    def marker(self) -> str:
        """The argument that tells its process from every other one."""
        return f"-Dcassandra.storagedir={self.directory}"

    def write_files(self) -> None:
        """Write its configuration, and make the directories that Cassandra expects."""
        for name in ("conf", "logs", "tmp", "triggers"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        conf = self.directory / "conf"
        # JSON is YAML too, and needs no library.
        conf.joinpath("cassandra.yaml").write_text(json.dumps(self._settings(), indent=2), encoding="utf-8")
        conf.joinpath("logback.xml").write_text(LOGBACK.format(file=escape(str(self.log_path))), encoding="utf-8")
        place = f"dc={DATA_CENTER}\nrack=rack1\n"
        conf.joinpath("cassandra-rackdc.properties").write_text(place, encoding="utf-8")

    def command(self, java: Path, jars: list[Path]) -> list[str]:
        """Return the command line that runs it in the foreground."""
        class_path = ":".join(str(jar) for jar in jars)
        main = "org.apache.cassandra.service.CassandraDaemon"
        return [str(java), *self._runtime_flags(jars), *self._cassandra_flags(), "-cp", class_path, main]

    def last_words(self) -> str:
        """Return the end of what it printed and logged, for an error that says why it did not start."""
        ends = [_tail(path) for path in (self.console_path, self.log_path)]
        return "\n".join(end for end in ends if end) or f"{self.address} left no log."

    def _runtime_flags(self, jars: list[Path]) -> list[str]:
        agent = next(jar for jar in jars if jar.name.startswith("jamm-"))
        return [
            f"-javaagent:{agent}",
            f"-Xms{self.heap_mb}M",
            f"-Xmx{self.heap_mb}M",
            "-Xss256k",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",
            # The quick compiler alone. Measured: a third less work to start, half for the first 14,000 statements; the
            # thorough one works a quarter less from the 80,000th on, so it catches up late in a lab node's life.
            *(() if self.thorough else ("-XX:TieredStopAtLevel=1",)),
            # Jars whose checksums were just checked need no second check of their bytecode.
            "-XX:-BytecodeVerificationRemote",
            f"-XX:ErrorFile={self.directory}/logs/hs_err_%p.log",
            f"-Djava.io.tmpdir={self.directory}/tmp",  # noqa: S108 (the node's own)
            "-Djava.net.preferIPv4Stack=true",
            "-Djdk.attach.allowAttachSelf=true",
            *(f"--add-exports={package}=ALL-UNNAMED" for package in EXPORTS),
            *(f"--add-opens={package}=ALL-UNNAMED" for package in OPENS),
        ]

    def _cassandra_flags(self) -> list[str]:
        conf = self.directory / "conf"
        return [
            self.marker,
            "-Dcassandra-foreground=yes",
            f"-Dcassandra.config={conf.joinpath('cassandra.yaml').as_uri()}",
            f"-Dcassandra-rackdc.properties={conf.joinpath('cassandra-rackdc.properties').as_uri()}",
            f"-Dlogback.configurationFile={conf / 'logback.xml'}",
            f"-Dcassandra.triggers_dir={self.directory}/triggers",
            f"-Dcassandra.jmx.local.port={self.jmx_port}",
            *(() if self.joining else SHORTCUTS),
            *(ALONE if self.seeds == (self.address,) else ()),
        ]

    @property
    def _is_founded_alone(self) -> bool:
        return len(self.seeds) == 1

    def _settings(self) -> dict[str, object]:
        seeds = [{"seeds": ",".join(self.seeds)}]
        token = {} if self.initial_token is None else {"initial_token": str(self.initial_token)}
        return {
            "cluster_name": self.cluster_name,
            "listen_address": self.address,
            "rpc_address": self.address,
            "native_transport_port": CQL_PORT,
            "storage_port": STORAGE_PORT,
            "seed_provider": [{"class_name": "org.apache.cassandra.locator.SimpleSeedProvider", "parameters": seeds}],
            "endpoint_snitch": "GossipingPropertyFileSnitch",
            "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            "num_tokens": 1,
            **token,
            "auto_bootstrap": self.joining,
            # What was acknowledged survives kill -9; the periodic default would lose the last moments.
            "commitlog_sync": "batch",
            "paxos_variant": "v2",
            # Dropped up to where a Paxos repair has come, and at no other time; a node alone has nobody to repair with.
            "paxos_state_purging": "legacy" if self._is_founded_alone else "repaired",
            "authenticator": "AllowAllAuthenticator",
            "authorizer": "AllowAllAuthorizer",
            "materialized_views_enabled": False,
            "sasi_indexes_enabled": False,
            "user_defined_functions_enabled": False,
            # A dropped table of the lab is meant to be gone: no copy that fills the disk.
            "auto_snapshot": False,
            **self._memory_settings(),
        }

    def _memory_settings(self) -> dict[str, object]:
        memtables_mib = max(32, self.heap_mb // 8)
        return {
            "memtable_heap_space": f"{memtables_mib}MiB",
            "memtable_offheap_space": f"{memtables_mib}MiB",
            "file_cache_size": "32MiB",
            "networking_cache_size": "32MiB",
            "key_cache_size": "8MiB",
            "counter_cache_size": "4MiB",
            "row_cache_size": "0MiB",
            "commitlog_segment_size": "16MiB",
            "commitlog_total_space": "256MiB",
        }


def _tail(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    # Without the frames of a stack trace, which push out what was said before them: why it ended.
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("at ", "... "))]
    return "\n".join([f"The end of {path}:", *lines[-LOG_TAIL_LINES:]]) if lines else ""


def first_nodes(
    directory: Path, count: int, network: str, cluster_name: str, heap_mb: int, *, thorough: bool = False
) -> list[Node]:
    """Return the nodes that found a cluster: all of them seeds, their tokens evenly spaced.

    Raises LabError when the number or the network is not possible.
    """
    if not 1 <= count <= MOST_NODES:
        message = f"A lab cluster has 1 to {MOST_NODES} nodes, not {count}."
        raise LabError(message)
    third = re.fullmatch(r"127\.0\.(\d{1,3})", network)
    if not third or int(third.group(1)) > 255:  # noqa: PLR2004
        message = f"The lab's network is one of 127.0.0 to 127.0.255, not {network}."
        raise LabError(message)
    seeds = tuple(f"{network}.{number}" for number in range(1, count + 1))
    return [
        Node(
            number=number,
            network=network,
            directory=directory / f"node{number}",
            cluster_name=cluster_name,
            seeds=seeds,
            heap_mb=heap_mb,
            initial_token=FIRST_TOKEN + (number - 1) * (RING_SIZE // count),
            thorough=thorough,
        )
        for number in range(1, count + 1)
    ]


def joining_node(first: Node, number: int, token: int) -> Node:
    """Return a node that joins the cluster of `first` later, at this place of the ring; it is no seed."""
    directory = first.directory.with_name(f"node{number}")
    return replace(first, number=number, directory=directory, initial_token=token, joining=True)
