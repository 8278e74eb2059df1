"""Gathers what the Cassandra image is built from, out of the lab: its Java, its jars, its options.

Usage: gather.py JARS_DIRECTORY CONTEXT_DIRECTORY. Nothing here talks to a container engine.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from store_manager.lab import jars, nodes, runtimes

RECIPE = Path(__file__).parent


def gather(jars_directory: Path, context: Path) -> None:
    """Fill `context` with all that the Dockerfile beside this file copies."""
    locked = jars.bring(jars_directory)
    (context / "jars").mkdir(parents=True)
    for jar in locked:
        shutil.copy2(jar, context / "jars")
    shutil.copytree(runtimes.find_java().parents[1], context / "java", symlinks=True)
    for name in ("Dockerfile", "docker-entrypoint.sh", "logback.xml"):
        shutil.copy2(RECIPE / name, context)
    agent = next(jar.name for jar in locked if jar.name.startswith(jars.JAVA_AGENT))
    (context / "java.options").write_text("\n".join(options(agent)) + "\n", encoding="utf-8")


def options(agent: str) -> list[str]:
    """Return the options of the Java process that do not depend on a container's variables."""
    return [
        f"-javaagent:/opt/cassandra/lib/{agent}",
        "-Xss256k",
        "-XX:+UseSerialGC",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.net.preferIPv4Stack=true",
        "-Djdk.attach.allowAttachSelf=true",
        *(f"--add-exports={package}=ALL-UNNAMED" for package in nodes.EXPORTS),
        *(f"--add-opens={package}=ALL-UNNAMED" for package in nodes.OPENS),
        "-Dcassandra-foreground=yes",
        "-Dcassandra.config=file:///etc/cassandra/cassandra.yaml",
        "-Dcassandra-rackdc.properties=file:///etc/cassandra/cassandra-rackdc.properties",
        "-Dcassandra.storagedir=/var/lib/cassandra",
        "-Dlogback.configurationFile=/opt/cassandra/logback.xml",
    ]


if __name__ == "__main__":
    gather(Path(sys.argv[1]), Path(sys.argv[2]))
