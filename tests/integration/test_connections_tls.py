"""TLS between the service and a node: a certificate of the right signer is needed, on both sides."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from certificates import make_certificate

from store_manager.database.connections import open_database
from store_manager.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store_manager.settings import Settings

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


@contextmanager
def tls_in_front_of(settings: Settings, certificate: Path, clients: Path) -> Iterator[Settings]:
    """Listen with TLS in front of the run's node, for those whose certificate `clients` has signed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(clients))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener, context, settings), daemon=True).start()
        yield replace(
            settings,
            cassandra_hosts=("127.0.0.1",),
            cassandra_port=listener.getsockname()[1],
            cassandra_tls=True,
            cassandra_connect_timeout_s=2,
        )


def accept(listener: socket.socket, context: ssl.SSLContext, settings: Settings) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client, context, settings), daemon=True).start()


def serve(client: socket.socket, context: ssl.SSLContext, settings: Settings) -> None:
    with suppress(OSError), context.wrap_socket(client, server_side=True) as secure:
        node = socket.create_connection((settings.cassandra_hosts[0], settings.cassandra_port))
        with node:
            threading.Thread(target=copy, args=(node, secure), daemon=True).start()
            copy(secure, node)


def copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


def test_a_known_certificate_on_both_sides_connects(settings: Settings, tmp_path: Path) -> None:
    node, service = make_certificate(tmp_path, "node"), make_certificate(tmp_path, "service")
    with tls_in_front_of(settings, node, clients=service) as secured:
        database = open_database(
            replace(secured, cassandra_tls_ca=str(node), cassandra_tls_cert=str(service)), settings.cassandra_keyspace
        )
        try:
            assert list(database.session.execute("SELECT key FROM system.local"))
        finally:
            database.close()


@pytest.mark.parametrize("fault", ["unknown signer", "other address", "no certificate of the service"])
def test_anything_else_is_refused(settings: Settings, tmp_path: Path, fault: str) -> None:
    address = "127.0.0.9" if fault == "other address" else "127.0.0.1"
    node, service, other = (make_certificate(tmp_path, name, address) for name in ("node", "service", "other"))
    signer = other if fault == "unknown signer" else node
    own = "" if fault == "no certificate of the service" else str(service)
    with (
        tls_in_front_of(settings, node, clients=service) as secured,
        pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1"),
    ):
        open_database(replace(secured, cassandra_tls_ca=str(signer), cassandra_tls_cert=own))
