"""What operators type, as the tests type it: the verbs of `store-manager cluster`, against a cluster of the lab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from store_manager.settings import write_value

if TYPE_CHECKING:
    from store_manager.lab.clusters import Cluster
    from store_manager.settings import Settings

ROOT = Path(__file__).parent.parent
TIMEOUT_S = 300
SCRIPT = "import sys; from store_manager.cli import main; main(sys.argv[1:])"


def run(cluster: Cluster, settings: Settings, *verb: str) -> str:
    """Run `store-manager cluster VERB` and return what it prints; in a process of its own, for Java stays in one."""
    environment = os.environ | {
        "CASSANDRA_HOSTS": write_value(settings.cassandra_hosts),
        "CASSANDRA_JMX_HOSTS": ",".join(cluster.management_hosts),
        "CASSANDRA_KEYSPACE": settings.cassandra_keyspace,
        "CASSANDRA_REPLICATION_FACTOR": write_value(settings.cassandra_replication_factor),
    }
    command = [sys.executable, "-c", SCRIPT, "cluster", *verb]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
