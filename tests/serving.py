"""The service as a process of its own, for tests that need it to be reached from elsewhere, as by a browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store_manager.settings import SETTINGS, write_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.settings import Settings

ROOT = Path(__file__).parents[1]
PATIENCE_S = 60.0


@contextmanager
def serve(settings: Settings, host: str) -> Iterator[str]:
    """A service that is ready, on a free port of this loopback address; gone afterwards. Yields its address."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    changed: dict[str, Any] = {"http_host": host, "http_port": port, "recovery_interval_s": 0, "log_level": "ERROR"}
    values = {one.attribute: getattr(settings, one.attribute) for one in SETTINGS} | changed
    environment = {name.upper(): write_value(value) for name, value in values.items()}
    command = [sys.executable, "-c", "from store_manager.cli import main; main(['serve'])"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment)
    try:
        _wait_ready(process, f"http://{host}:{port}")
        yield f"http://{host}:{port}"
    finally:
        process.kill()  # its workers follow it
        process.wait()


def _wait_ready(process: subprocess.Popen[bytes], address: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        assert process.poll() is None, "the service ended"
        try:
            urllib.request.urlopen(f"{address}/readyz", timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"the service was not ready within {PATIENCE_S:g} s")
