"""A node that speaks TLS with those it knows only, and asks for a password: the store on it, and who is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import operators
import pytest
from certificates import make_certificate
from conftest import LAB

from store_manager.database.connections import open_database
from store_manager.errors import DatabaseUnavailable
from store_manager.lab import processes
from store_manager.lab.clusters import Cluster
from store_manager.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store_manager.lab.nodes import Node

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")

NETWORK = "127.0.76"
ADDRESS = f"{NETWORK}.1"
PATIENCE_S = 120.0
PASSWORD = "correct horse"
COMMAND = [sys.executable, "-c", operators.SCRIPT]


@dataclass(frozen=True)
class Secured:
    """What is needed to be let in."""

    certificates: Path
    environment: dict[str, str]

    def settings(self, user: str, password: str) -> Settings:
        return Settings(
            cassandra_hosts=(ADDRESS,),
            cassandra_keyspace="secured",
            cassandra_replication_factor=1,
            cassandra_tls=True,
            cassandra_tls_ca=str(self.certificates / "ca.crt"),
            cassandra_tls_cert=str(self.certificates / "service.pem"),
            cassandra_username=user,
            cassandra_password=password,
        )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A node of the lab that nobody is let into without a known certificate and a password."""
    made = tmp_path_factory.mktemp("secured")
    for name in ("ca", "stranger"):
        make_certificate(made, name)
    make_certificate(made, "node", ADDRESS, signer="ca")
    make_certificate(made, "service", signer="ca")
    make_certificate(made, "strange-service", signer="stranger")
    (made / "password").write_text(f"{PASSWORD}\n")
    cluster = Cluster(LAB, 1, name="test-secured", network=NETWORK, owned=True)
    cluster.destroy()
    [node] = cluster.nodes
    node.write_files()
    java, jars = cluster._prepare([node])
    secure(node, made)
    process = processes.spawn(node.command(java, jars), node.console_path, os.getpid())
    environment = {
        "CASSANDRA_HOSTS": ADDRESS,
        "CASSANDRA_KEYSPACE": "secured",
        "CASSANDRA_REPLICATION_FACTOR": "1",
        "CASSANDRA_TLS": "true",
        "CASSANDRA_TLS_CA": str(made / "ca.crt"),
        "CASSANDRA_TLS_CERT": str(made / "service.pem"),
        "CASSANDRA_USERNAME": "store",
        "CASSANDRA_PASSWORD_FILE": str(made / "password"),
    }
    try:
        found = Secured(made, environment)
        make_role(found, node)
        yield found
    finally:
        processes.kill(process)
        processes.wait_gone(process, PATIENCE_S)
        cluster.destroy()


def secure(node: Node, certificates: Path) -> None:
    """Let the node ask its clients for certificates and passwords."""
    file = node.directory / "conf" / "cassandra.yaml"
    client_encryption = {
        "enabled": True,
        "optional": False,
        "require_client_auth": True,
        "ssl_context_factory": {"class_name": "org.apache.cassandra.security.PEMBasedSslContextFactory"},
        "keystore": str(certificates / "node.pem"),
        "truststore": str(certificates / "ca.crt"),
    }
    asked = {"authenticator": "PasswordAuthenticator", "authorizer": "CassandraAuthorizer"}
    settings = json.loads(file.read_text()) | asked | {"client_encryption_options": client_encryption}
    file.write_text(json.dumps(settings))


def make_role(secured: Secured, node: Node) -> None:
    """Make the service's own user, as Cassandra's first superuser, once the node lets that in."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            database = open_database(secured.settings("cassandra", "cassandra"))
        except DatabaseUnavailable:
            assert time.monotonic() < end_s, node.last_words()
            time.sleep(0.5)
        else:
            break
    database.raw.execute(f"CREATE ROLE store WITH LOGIN = true AND PASSWORD = '{PASSWORD}'")
    database.raw.execute("GRANT CREATE ON ALL KEYSPACES TO store")
    database.close()


def run(secured: Secured, *verb: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | secured.environment | changes
    return subprocess.run([*COMMAND, *verb], env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_the_store_is_set_up_and_sells_on_a_node_that_asks_for_certificate_and_password(secured: Secured) -> None:
    synced = run(secured, "schema", "sync")
    assert synced.returncode == 0, synced.stderr
    assert run(secured, "schema", "check").returncode == 0
    sample = run(secured, "sample")
    assert sample.returncode == 0, sample.stderr
    audit = run(secured, "audit")
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_how_the_nodes_are_is_told_to_users_that_may_read_it(secured: Secured) -> None:
    refused = run(secured, "cluster", "status")
    assert refused.returncode == 1
    assert "GRANT SELECT ON KEYSPACE system_views" in refused.stderr
    database = open_database(secured.settings("cassandra", "cassandra"))
    database.raw.execute("GRANT SELECT ON KEYSPACE system_views TO store")
    database.close()
    end_s = time.monotonic() + PATIENCE_S
    while f"UN  {ADDRESS}" not in (status := run(secured, "cluster", "status")).stdout:  # grants are cached
        assert time.monotonic() < end_s, status


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"CASSANDRA_PASSWORD_FILE": "", "CASSANDRA_PASSWORD": "wrong horse"}, "refuses the user or password"),
        ({"CASSANDRA_TLS_CA": "stranger.crt"}, "unable to get local issuer certificate"),
        ({"CASSANDRA_TLS_CERT": "strange-service.pem"}, "TLS"),
        ({"CASSANDRA_TLS": "false", "CASSANDRA_TLS_CA": "", "CASSANDRA_TLS_CERT": ""}, ADDRESS),
    ],
    ids=["another password", "another signer of the node's", "another signer of the service's", "no TLS"],
)
def test_who_is_not_known_is_refused_in_one_sentence_without_the_password(
    secured: Secured, changes: dict[str, str], said: str
) -> None:
    files = {
        name: str(secured.certificates / value) if ".pem" in value or ".crt" in value else value
        for name, value in changes.items()
    }
    refused = run(secured, "schema", "plan", **files)
    assert refused.returncode != 0
    assert said in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert "horse" not in refused.stderr + refused.stdout
