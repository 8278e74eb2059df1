"""The service as a process: how it starts, how it ends, and what it does while the database is away."""

from __future__ import annotations

import http.client
import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from certificates import make_certificate

from store_manager import readiness
from store_manager.models import MODELS
from store_manager.schema.syncs import sync
from store_manager.settings import Settings, write_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_manager.database.connections import Database

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
HOST, RELAY_HOST = "127.0.8.100", "127.0.8.101"


def until(condition: Callable[[], Any]) -> Any:
    """Ask again and again until it holds; fail when patience ends."""
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str, timeout_s: float = PATIENCE_S) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=timeout_s) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except (OSError, http.client.HTTPException):
        return 0, None


def start(settings: Settings, **changes: Any) -> subprocess.Popen[bytes]:
    """Start the service as a user would, by its command and its environment."""
    values = {name: getattr(settings, name) for name in Settings.__dataclass_fields__ if "secret" not in name} | changes
    environment = {name.upper(): write_value(value) for name, value in values.items()}
    command = [sys.executable, "-c", "from store_manager.cli import main; main(['serve'])"]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment, "HTTP_HOST": HOST}, stderr=subprocess.PIPE
    )


@contextmanager
def service(settings: Settings, **changes: Any) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A service that runs, whatever its database does; gone afterwards."""
    port = free_port()
    process = start(settings, http_port=port, **changes)
    try:
        until(lambda: get(port, "/livez")[0] == 200 or process.poll() is not None)
        assert process.poll() is None, process.communicate()[1].decode()
        yield process, port
    finally:
        process.kill()
        process.communicate()


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
    return [int(pid) for pid in text.split()]


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return False


class Relay:
    """Passes connections on to Cassandra, until it is told to be away."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener: socket.socket | None = None
        self._sockets: list[socket.socket] = []

    def open(self) -> None:
        self._listener = socket.create_server((RELAY_HOST, self._target[1]))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        for one in (self._listener, *self._sockets):
            if one is not None:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        self._sockets.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                pair = (listener.accept()[0], socket.create_connection(self._target))
                self._sockets.extend(pair)
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError, ValueError):
            while True:
                for source in select.select([one, other], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    (other if source is one else one).sendall(data)


@pytest.fixture(scope="module")
def without_database() -> Settings:
    """Settings of a database that is never there."""
    return Settings(cassandra_hosts=("127.0.8.102",), cassandra_keyspace="nowhere")


def test_a_port_that_is_in_use_ends_the_start_with_one_sentence(without_database: Settings) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        process = start(without_database, http_port=port)
        _, errors = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 1
    assert errors.decode().strip().splitlines() == [
        f"Error: Cannot listen at {HOST}:{port}: the port is in use; stop what uses it, or set HTTP_PORT to another one"
    ]


def test_a_setting_that_is_wrong_ends_the_start_with_one_sentence(without_database: Settings) -> None:
    process = start(without_database, http_threads="many")
    _, errors = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 1
    (sentence,) = errors.decode().strip().splitlines()
    assert "HTTP_THREADS" in sentence


def test_without_a_database_the_service_lives_says_why_it_is_not_ready_and_answers_503(
    without_database: Settings,
) -> None:
    with service(without_database) as (_, port):
        status, problem = get(port, "/products")
        assert (status, problem["code"]) == (503, "DATABASE_UNAVAILABLE")
        status, readiness = get(port, "/readyz")
        assert (status, readiness["status"]) == (503, "unavailable")
        assert "127.0.8.102" in readiness["reasons"][0]
        assert get(port, "/health")[0] == 503
        assert get(port, "/swagger.json")[0] == 200


def test_a_precondition_with_bytes_that_no_header_should_have_is_refused_not_lost(without_database: Settings) -> None:
    with service(without_database) as (_, port), socket.create_connection((HOST, port), PATIENCE_S) as caller:
        head = f"DELETE /products/0f8fad5b-d9cb-469f-a165-70867728950e HTTP/1.1\r\nHost: {HOST}\r\n"
        caller.sendall(head.encode() + b'Connection: close\r\nIf-Match: "\xc3\xa9"\r\n\r\n')
        answered = b"".join(iter(partial(caller.recv, 65536), b""))

    assert answered.startswith(b"HTTP/1.1 400 ")
    assert b'"param":"If-Match"' in answered


def test_the_service_comes_by_itself_when_the_database_does_and_again_after_it_was_away(
    settings: Settings, database: Database
) -> None:
    assert database.session is not None  # the keyspace has its tables
    relay = Relay(settings.cassandra_hosts[0], settings.cassandra_port)
    with service(settings, cassandra_hosts=(RELAY_HOST,)) as (_, port):
        assert get(port, "/products")[0] == 503
        for _ in range(2):
            relay.open()
            until(lambda: get(port, "/products")[0] == 200 and get(port, "/readyz")[0] == 200)
            relay.close()
            until(lambda: get(port, "/products")[0] == 503 and get(port, "/readyz")[0] == 503)
            assert get(port, "/products")[1]["code"] == "DATABASE_UNAVAILABLE"


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_service_that_is_told_to_end_finishes_what_is_under_way(without_database: Settings, ending: int) -> None:
    with service(without_database) as (process, port), socket.create_connection((HOST, port), PATIENCE_S) as caller:
        workers = children_of(process)
        head = f"POST /products HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        caller.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert caller.recv(65536).startswith(b"HTTP/1.1 100 ")  # a thread of the worker waits for the body
        process.send_signal(ending)
        until(lambda: get(port, "/livez", timeout_s=1)[0] == 0)  # a worker that ends answers no new caller
        caller.sendall(b"[]")
        assert caller.recv(65536).startswith(b"HTTP/1.1 400 ")
        assert process.wait(PATIENCE_S) == 0
        until(lambda: not any(lives(pid) for pid in workers))


def test_when_the_main_process_is_killed_its_workers_end_too(without_database: Settings) -> None:
    with service(without_database, http_workers=2) as (process, port):
        workers = children_of(process)
        assert len(workers) >= 2
        process.kill()
        process.wait()
        until(lambda: not any(lives(pid) for pid in workers))
        assert get(port, "/livez")[0] == 0


def test_a_worker_that_is_killed_is_replaced(without_database: Settings) -> None:
    with service(without_database) as (process, port):
        (worker,) = [pid for pid in children_of(process) if "spawn_main" in command_of(pid)]
        os.kill(worker, signal.SIGKILL)
        until(lambda: not lives(worker))
        until(lambda: get(port, "/livez")[0] == 200)


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")


def test_several_workers_count_their_requests_together(without_database: Settings) -> None:
    with service(without_database, http_workers=2) as (_, port):
        for _ in range(20):
            get(port, "/livez")

        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=PATIENCE_S) as response:
            text = response.read().decode()

    (line,) = [line for line in text.splitlines() if 'duration_seconds_count{method="GET",route="/livez"' in line]
    assert float(line.split()[-1]) >= 20


@pytest.fixture
def behind(settings: Settings, database: Database) -> Iterator[Settings]:
    """Settings of a keyspace whose schema is older than the Models: it lacks a column and a table."""
    own = replace(settings, cassandra_keyspace=f"test_behind_{uuid.uuid4().hex[:12]}")
    older = tuple(model for model in MODELS if model.__table_name__ != "claims")
    sync(database, own, older)
    database.raw.execute(f"ALTER TABLE {own.cassandra_keyspace}.users DROP email")
    yield own
    database.raw.execute(f"DROP KEYSPACE {own.cassandra_keyspace}")


def test_a_service_whose_schema_is_behind_says_so_until_a_sync_has_been(behind: Settings, database: Database) -> None:
    with service(behind) as (_, port):
        status, body = until(lambda: answer if "schema sync" in str(answer := get(port, "/readyz")) else None)
        assert (status, body["status"]) == (503, "unavailable")
        sync(database, behind)
        until(lambda: get(port, "/readyz")[0] == 200)


def test_a_service_that_shall_not_start_with_a_schema_that_is_behind_ends_with_one_sentence(behind: Settings) -> None:
    refused = start(behind, http_port=free_port(), schema_behind="refuse", log_level="ERROR")
    error = refused.communicate(timeout=PATIENCE_S)[1].decode()
    assert refused.returncode == 1
    # Before it stands what the driver logs.
    assert error.splitlines()[-1] == (
        "Error: The keyspace lacks a table or column that the Models declare: run `schema sync`"
    )


def test_a_service_whose_schema_is_as_declared_starts_whatever_it_shall_do_otherwise(
    settings: Settings, database: Database
) -> None:
    with service(settings, schema_behind="refuse") as (_, port):
        assert database.keyspace == settings.cassandra_keyspace
        until(lambda: get(port, "/readyz")[0] == 200)


def test_a_service_that_can_not_know_its_schema_waits_for_the_database(settings: Settings) -> None:
    away = replace(settings, cassandra_hosts=(RELAY_HOST,))
    with service(away, schema_behind="refuse") as (_, port):
        until(lambda: get(port, "/readyz")[0] == 503)


@pytest.mark.usefixtures("database")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_with_a_certificate_the_service_speaks_https_and_nothing_else(settings: Settings, tmp_path: Path) -> None:
    make_certificate(tmp_path, "api", HOST)
    certificate, key = str(tmp_path / "api.crt"), str(tmp_path / "api.key")
    port = free_port()
    process = start(settings, http_port=port, http_tls_cert=certificate, http_tls_key=key)
    own = replace(settings, http_host=HOST, http_port=port, http_tls_cert=certificate, http_tls_key=key)
    trusting = ssl.create_default_context(cafile=certificate)
    try:
        until(lambda: readiness.is_ready(own) or process.poll() is not None)
        with urllib.request.urlopen(f"https://{HOST}:{port}/health", context=trusting) as response:
            assert json.loads(response.read())["nodes"]
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(f"https://{HOST}:{port}/health")
        assert get(port, "/livez") == (0, None), "answered without a certificate"
        assert not readiness.is_ready(replace(own, http_tls_cert="", http_tls_key=""))
    finally:
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=PATIENCE_S)[1].decode()
    assert process.returncode == 0
    assert f"https://{HOST}:{port}/" in told
