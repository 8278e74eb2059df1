"""What is said when no connection can be made, isolated from any server."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from cassandra import AuthenticationFailed, UnresolvableContactPoints
from cassandra.cluster import NoHostAvailable

from store_manager.database import connections
from store_manager.database.connections import Database, describe_survival, open_database
from store_manager.database.levels import copies_needed
from store_manager.errors import DatabaseUnavailable, SettingError
from store_manager.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Settings(cassandra_username="store", cassandra_password="hunter2", cassandra_hosts=("10.0.0.1", "10.0.0.2"))


class FakeCluster:
    """Stands for the driver's cluster that can't connect, and knows nodes of these data centres."""

    def __init__(self, error: Exception, datacenters: tuple[str | None, ...] = ()) -> None:
        self.error = error
        hosts = [SimpleNamespace(datacenter=datacenter) for datacenter in datacenters]
        self.metadata = SimpleNamespace(all_hosts=lambda: hosts)
        self.ended = False

    def connect(self, **_: Any) -> Any:
        raise self.error

    def shutdown(self) -> None:
        self.ended = True


def refuse(monkeypatch: pytest.MonkeyPatch, cluster: FakeCluster) -> str:
    monkeypatch.setattr(connections, "Cluster", lambda **_: cluster)
    with pytest.raises(DatabaseUnavailable) as refused:
        open_database(SETTINGS)
    assert cluster.ended, "no thread of a failed attempt is left behind"
    return refused.value.message


def test_no_piece_of_a_request_waits_until_the_node_has_acknowledged_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: dict[str, Any] = {}
    cluster = FakeCluster(NoHostAvailable("nobody", {}))
    monkeypatch.setattr(connections, "Cluster", lambda **how: told.update(how) or cluster)
    with pytest.raises(DatabaseUnavailable):
        open_database(SETTINGS)
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in told["sockopts"]


def test_a_refused_password_is_told_from_a_silent_node_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = NoHostAvailable("nobody", {"10.0.0.1": OSError(), "10.0.0.2": AuthenticationFailed("no")})
    message = refuse(monkeypatch, FakeCluster(refused))
    assert "CASSANDRA_PASSWORD" in message
    assert "hunter2" not in message


def test_silent_nodes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refuse(monkeypatch, FakeCluster(NoHostAvailable("nobody", {"10.0.0.1": OSError()}), (None, "dc1")))
    assert "10.0.0.1, 10.0.0.2 (port 9042)" in message


def test_the_data_centres_that_exist_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refuse(monkeypatch, FakeCluster(NoHostAvailable("nobody", ["10.0.0.1"]), ("east", "west")))
    assert "'dc1'" in message
    assert "east, west" in message


def test_unknown_host_names_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refuse(monkeypatch, FakeCluster(UnresolvableContactPoints({})))
    assert "10.0.0.1, 10.0.0.2" in message


def test_a_file_that_holds_no_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(SettingError, match="CASSANDRA_TLS_CA"):
        open_database(Settings(cassandra_tls=True, cassandra_tls_ca=str(tmp_path / "ca.pem")))


@pytest.mark.parametrize(
    ("copies", "nodes", "changes", "said"),
    [
        (1, 3, {}, "nothing: with a node away, its rows can be neither read nor written"),
        (
            2,
            3,
            {},
            "with a node away, its rows can't be written; with 1 away, products and stocks can still be read",
        ),
        (2, 3, {"cassandra_stale_reads": False}, "nothing: with a node away, its rows can be neither read nor written"),
        (
            3,
            3,
            {},
            "with 1 node(s) away, everything goes on; with 2 away, products and stocks can still be read",
        ),
        (3, 3, {"cassandra_stale_reads": False}, "with 1 node(s) away, everything goes on"),
        (
            3,
            3,
            {"cassandra_write_consistency": "ALL"},
            "with a node away, its rows can't be written; with 2 away, products and stocks can still be read",
        ),
        (3, 1, {}, "nothing: 2 copies have to answer, and 1 node(s) hold no more than 1"),
    ],
)
def test_it_is_said_what_a_store_survives(copies: int, nodes: int, changes: dict[str, Any], said: str) -> None:
    assert describe_survival(Settings(**changes), nodes, copies) == said


def database_with(factor: int | None, settings: Settings, alive: int = 3) -> Database:
    """A connection to a cluster that keeps so many copies of the store's rows, of which so many can be reached.

    None: it has no such keyspace.
    """

    def count_ranges(_keyspace: str, level: int) -> tuple[int, int]:
        return int(copies_needed(level, factor or 0) <= alive), 1

    known: Any = SimpleNamespace(
        factor_of=lambda keyspace: factor if keyspace == "store_manager" else None, count_ranges=count_ranges
    )
    nothing: Any = None
    return Database(SimpleNamespace(cluster=None), nothing, None, settings, known)


def test_the_copies_that_the_keyspace_keeps_count_and_before_there_is_one_those_that_it_shall() -> None:
    kept, wanted = database_with(1, Settings()), database_with(None, Settings(cassandra_replication_factor=2))
    assert (kept.copies(), wanted.copies()) == (1, 2)
    assert "that of keyspace store_manager is 1" in kept.warnings(3)[0]
    assert len(wanted.warnings(3)) == 1


def test_levels_that_do_not_fit_the_copies_are_warned_of_before_anything_is_lost() -> None:
    weak = Settings(cassandra_read_consistency="ONE", cassandra_write_consistency="ONE")
    missed, lost = database_with(3, weak).warnings(3)
    assert "recovery" in missed
    assert "lost with the nodes" in lost
    assert database_with(3, Settings()).warnings(3) == []
    assert not any("CONSISTENCY" in warning for warning in database_with(1, weak).warnings(3)), "one copy is all"


def test_with_one_copy_in_reach_it_is_said_what_is_never_read_as_it_was() -> None:
    reach = database_with(3, Settings(cassandra_report_consistency="ONE"), alive=1).reach()
    assert (reach.reading.name, reach.writing.name) == ("ALL", "NONE")
    written, read = reach.warnings
    assert written.startswith("Nothing can be written")
    assert read == "Orders and users can't be read: too few copies can be reached for CASSANDRA_READ_CONSISTENCY"
    assert database_with(3, Settings(), alive=2).reach().warnings == []
