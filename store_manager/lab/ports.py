"""Addresses and ports of this machine: free, or taken by whom. Nothing here opens one for use."""

from __future__ import annotations

import errno
import socket
import time
from contextlib import suppress

import psutil

from store_manager.lab.faults import LabError

DYING_TIMEOUT_S = 5.0
POLL_S = 0.1


def is_taken(address: str, port: int) -> bool:
    """Tell whether somebody listens there; raises LabError when the address is not one of this machine."""
    with socket.socket() as probe:
        # Cassandra binds in the same way: connections that are still closing are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise LabError(f"{address} is no address of this machine: add it to the loopback interface.") from error
    return False


def refuse_taken(address: str, port: int) -> None:
    """Raise LabError, with the process if the system tells it, when somebody listens there."""
    deadline = time.monotonic() + DYING_TIMEOUT_S
    while is_taken(address, port):
        pid = _find_listener(address, port)
        # A process that was just killed holds its ports for a moment longer, and is no listener any more.
        if pid or time.monotonic() > deadline:
            holder = f"process {pid}" if pid else "another process"
            raise LabError(
                f"{address}:{port} is in use by {holder}: end it (nodes of `store-manager lab up` may have another "
                "network instead: --network)."
            )
        time.sleep(POLL_S)


def _find_listener(address: str, port: int) -> int | None:
    here = {(address, port), ("0.0.0.0", port)}  # noqa: S104 (compared, not bound)
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and tuple(connection.laddr) in here:
                return int(connection.pid) if connection.pid else None
    return None
