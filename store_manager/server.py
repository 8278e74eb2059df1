"""Serves the application over HTTP(S) by granian: a main process that listens for signals, and workers that answer.

Each worker is a process of its own that inherits nothing (spawned, not forked: threads and connections do not survive
a fork) and connects to the database itself. What is answered stands in the controllers.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from granian import Granian
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels

from store_manager import logs, memory
from store_manager.app import create_app, require_schema
from store_manager.errors import StoreError

if TYPE_CHECKING:
    from flask import Flask

    from store_manager.settings import Settings

HEADERS_WITHIN_MS = 10_000
"""How long a client may take to send its headers."""

GRACE_S = 5
"""How much longer than one request's deadline a worker may take to end."""

REPEAT_AFTER_S = 0.1
"""After how long a worker is told a second time to end; told twice, it does the same as once."""

_LIBRARY_LOGS = {"handlers": {}, "loggers": {"_granian": {"handlers": [], "propagate": True}}}

log = structlog.get_logger(__name__)


class AddressError(StoreError):
    """The service cannot listen at the address of the settings."""

    code = "ADDRESS_UNUSABLE"


def serve(settings: Settings) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP (unless that is ignored), then finish what is under way and return.

    Raises AddressError, SettingError for a certificate that every caller would refuse and, where the settings say so,
    SchemaBehind, with a sentence for people. If this process is killed, its workers end too.
    """
    settings.check_certificate()
    logs.configure(settings.log_level, settings.log_format)
    address = find_address(settings.http_host, settings.http_port)
    if settings.schema_behind == "refuse":
        require_schema(settings)
    multiprocessing.set_start_method("spawn", force=True)
    with ExitStack() as stack:
        if settings.http_workers > 1:  # must stand in the environment before a worker imports prometheus_client
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="store-manager-metrics-"))
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        server = _make_server(settings, address)
        server.on_startup(partial(log.info, "serving", url=f"{settings.http_url}/"))
        server.on_startup(partial(_end_with_terminal, signal.getsignal(signal.SIGHUP)))
        server.serve(target_loader=partial(_load, settings), wrap_loader=False)
    log.info("stopped")


def _make_server(settings: Settings, address: str) -> Any:
    return Granian(
        "store_manager.app:create_app",
        address=address,
        port=settings.http_port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_WITHIN_MS),
        workers=settings.http_workers,
        blocking_threads=settings.http_threads,
        ssl_cert=Path(settings.http_tls_cert) if settings.http_tls_cert else None,
        ssl_key=Path(settings.http_tls_key or settings.http_tls_cert) if settings.http_tls_cert else None,
        ssl_protocol_min=SSLProtocols.tls12,
        respawn_failed_workers=True,
        workers_kill_timeout=int(settings.request_timeout_s) + GRACE_S,
        log_level=LogLevels.error,
        log_dictconfig=_LIBRARY_LOGS,
    )


def _end_with_terminal(before: Any) -> None:
    """End on SIGHUP as on SIGTERM, unless `before` this it was ignored: granian would start its workers anew."""
    ignored = before is signal.SIG_IGN
    signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.getsignal(signal.SIGTERM))


def find_address(host: str, port: int) -> str:
    """Return the numeric address of a host, after making sure that nobody listens there.

    The workers share the port by SO_REUSEPORT, so without this a second service would start, and take half of the
    requests of the first.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise AddressError(f"Cannot listen at {host}:{port}: {_explain(error)}") from error
    return str(address[0])


def _explain(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use; stop what uses it, or set HTTP_PORT to another one"
    if error.errno == errno.EACCES:
        return "this user may not use that port; set HTTP_PORT to one above 1023"
    return "this machine has no such address; correct HTTP_HOST"


def _load(settings: Settings) -> Flask:
    """Make the application of one worker, in its own process."""
    os.setpgrp()  # Ctrl-C reaches the main process only, which then ends the workers one by one
    logs.configure(settings.log_level, settings.log_format)
    _hear_signals()
    threading.Thread(target=_follow_parent, args=(settings,), name="follow-parent", daemon=True).start()
    app = create_app(settings)
    memory.settle()
    return app


def _hear_signals() -> None:
    """Let a signal reach this, the main thread, a second time.

    On a busy machine some were lost on it (7 of 81; with this, 0 of 76): it waits for a lock and slept on,
    and the worker took new requests until it was killed, and with it those that were under way.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_repeat_signal, args=(reader, threading.get_ident()), name="signals", daemon=True).start()


def _repeat_signal(reader: int, main_thread: int) -> None:
    [number] = os.read(reader, 1)
    time.sleep(REPEAT_AFTER_S)
    signal.pthread_kill(main_thread, number)


def _follow_parent(settings: Settings) -> None:
    """End this worker when its main process is gone, however that ended; at first gently."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(settings.request_timeout_s + GRACE_S)
        os._exit(1)
