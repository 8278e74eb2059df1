"""Ports that are taken, and by whom."""

from __future__ import annotations

import os
import socket

import pytest

from store_manager.lab import ports
from store_manager.lab.faults import LabError
from store_manager.lab.ports import is_taken, refuse_taken

ADDRESS = "127.0.7.200"


def test_a_port_in_use_is_told_with_its_address_and_process() -> None:
    with socket.create_server((ADDRESS, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LabError, match=f"{ADDRESS}:{port} is in use by process {os.getpid()}: end it"):
            refuse_taken(ADDRESS, port)


def test_a_server_on_all_addresses_is_found_too() -> None:
    with (
        socket.create_server(("0.0.0.0", 0)) as server,
        pytest.raises(LabError, match=f"process {os.getpid()}"),
    ):
        refuse_taken(ADDRESS, server.getsockname()[1])


def test_the_port_of_a_process_that_is_just_dying_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((ADDRESS, 0)) as server:
        port = server.getsockname()[1]

        def find_nobody(*_: object) -> None:
            server.close()

        monkeypatch.setattr(ports, "_find_listener", find_nobody)
        refuse_taken(ADDRESS, port)


def test_a_port_whose_holder_the_system_does_not_tell_is_refused_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_find_listener", lambda *_: None)
    monkeypatch.setattr(ports, "DYING_TIMEOUT_S", 0)
    with (
        socket.create_server((ADDRESS, 0)) as server,
        pytest.raises(LabError, match="in use by another process"),
    ):
        refuse_taken(ADDRESS, server.getsockname()[1])


def test_a_port_is_free_again_once_its_server_is_gone() -> None:
    with socket.create_server((ADDRESS, 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection((ADDRESS, port))
        server.accept()[0].close()
    client.close()
    assert not is_taken(ADDRESS, port)
    refuse_taken(ADDRESS, port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(LabError, match=r"192\.0\.2\.1 is no address of this machine"):
        is_taken("192.0.2.1", 9042)
