"""`store-manager run` and `reset`, without a node: what is refused, and what a reset removes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from store_manager import server
from store_manager.cli import main
from store_manager.lab import clusters, jars

if TYPE_CHECKING:
    from pathlib import Path

    from store_manager.settings import Settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    return tmp_path


def test_a_reset_also_removes_what_a_start_that_failed_has_left(home: Path) -> None:
    (home / "store-3").mkdir()
    (home / "store-3" / ".lock").touch()

    done = CliRunner().invoke(main, ["reset", "--yes"])

    assert (done.exit_code, list(home.iterdir())) == (0, [])
    assert str(home / "store-3") in done.output


def test_a_reset_leaves_the_jars_and_the_clusters_of_the_lab(home: Path) -> None:
    kept = {home / name for name in ("jars", "store", "store-of-mine")}
    for path in kept:
        path.mkdir()

    done = CliRunner().invoke(main, ["reset", "--yes"])

    assert (done.exit_code, done.output) == (0, "There are no data to remove.\n")
    assert set(home.iterdir()) == kept


def test_a_reset_that_is_not_confirmed_removes_nothing(home: Path) -> None:
    (home / "store-1").mkdir()

    assert CliRunner().invoke(main, ["reset"], input="n\n").exit_code == 1
    assert (home / "store-1").is_dir()


def test_the_own_cassandra_is_used_as_it_is_whatever_is_said_of_another_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Settings] = []
    monkeypatch.delenv("CASSANDRA_HOSTS", raising=False)
    monkeypatch.setattr(jars, "bring", lambda *_, **__: [])
    monkeypatch.setattr(clusters.Cluster, "up", lambda *_: None)
    monkeypatch.setattr(server, "find_address", lambda *_: None)
    monkeypatch.setattr(server, "serve", lambda _: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("store_manager.cli.run._announce", lambda _: None)
    monkeypatch.setattr("store_manager.cli.run._prepare", used.append)
    (home / ".env").write_text("CASSANDRA_TLS=true\nCASSANDRA_USERNAME=u\nCASSANDRA_PASSWORD=p\n", encoding="utf-8")
    monkeypatch.chdir(home)

    done = CliRunner().invoke(main, ["run", "--nodes", "2"])

    assert done.exit_code == 0, done.output
    (own,) = used
    assert (own.cassandra_hosts, own.cassandra_replication_factor) == (("127.0.0.1", "127.0.0.2"), 2)
    assert (own.cassandra_tls, own.cassandra_username, own.cassandra_password) == (False, "", "")


def test_on_another_system_than_linux_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    refused = CliRunner().invoke(main, ["run"])

    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: ")
    assert "docker compose" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
