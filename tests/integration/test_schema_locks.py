"""The schema's lock on a real node: one holds it at a time, and whoever comes later waits an old lease out."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from store_manager.cli import main
from store_manager.database.connections import Database, open_database
from store_manager.errors import OutcomeUnknown
from store_manager.models.claims import Claim
from store_manager.schema import histories, locks
from store_manager.schema.faults import LockHeld, LockLost
from store_manager.schema.syncs import sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_manager.schema.locks import Lease
    from store_manager.settings import Settings

LEASE_S = 3.0


@pytest.fixture(scope="module")
def own(settings: Settings) -> Iterator[Settings]:
    """Settings of a keyspace that has been synced."""
    own = replace(settings, cassandra_keyspace=f"test_lock_{uuid.uuid4().hex[:12]}", schema_lease_s=LEASE_S)
    database = open_database(own)
    try:
        sync(database, own, (Claim,))
        yield own
        database.raw.execute(f"DROP KEYSPACE {own.cassandra_keyspace}")
    finally:
        database.close()


@pytest.fixture
def cluster(own: Settings) -> Iterator[Database]:
    database = open_database(own)
    yield database
    database.close()


@contextmanager
def holding(database: Database, own: Settings, **more: Any) -> Iterator[Lease]:
    with locks.hold(database, own.cassandra_keyspace, "a test", **{"lease_s": LEASE_S, "wait_s": 60, **more}) as lease:
        yield lease


def vanish(lease: Lease) -> None:
    """Let a holder do no more, as if its process had been killed or frozen."""
    lease._ending.set()
    lease._thread.join()


def test_of_many_at_once_one_holds_it_at_a_time(own: Settings, cluster: Database) -> None:
    inside, most = [], []

    def work(number: int) -> None:
        with holding(cluster, own) as lease:
            inside.append(number)
            most.append(len(inside))
            lease.require()
            inside.remove(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert most == [1] * 6


def test_whoever_waits_is_told_for_whom_and_for_what(own: Settings, cluster: Database) -> None:
    told: list[str] = []
    with holding(cluster, own), pytest.raises(LockHeld, match=r"process \d+.* for a test.* unlock"):  # noqa: SIM117
        with holding(cluster, own, wait_s=1, tell=told.append):
            pytest.fail("two hold it")
    assert [sentence.startswith("Waiting for the lock of the schema: ") for sentence in told] == [True]


def test_a_lease_that_is_renewed_is_never_taken_over(own: Settings, cluster: Database) -> None:
    with holding(cluster, own) as lease, pytest.raises(LockHeld), holding(cluster, own, wait_s=2 * LEASE_S):
        pytest.fail("two hold it")
    with pytest.raises(LockHeld), holding(cluster, own) as lease, holding(cluster, own, wait_s=0):
        lease.require()


def test_the_lock_of_a_process_that_is_gone_is_taken_when_its_lease_is_over_and_not_before(
    own: Settings, cluster: Database
) -> None:
    with holding(cluster, own) as gone:
        vanish(gone)
        with holding(cluster, own) as lease:
            assert gone._left_s() <= 0, "by its own clock the first one still holds it"
            lease.require()
            with pytest.raises(LockLost, match="over before it could be renewed"):
                gone.require()
            lease.require()


def test_a_holder_that_was_frozen_beyond_its_lease_sends_nothing_more(own: Settings, cluster: Database) -> None:
    with holding(cluster, own) as frozen:
        vanish(frozen)
        frozen._renewed_at_s -= LEASE_S  # as a sleep of that length would
        with pytest.raises(LockLost):
            frozen.require()


def test_a_lease_with_too_little_left_is_no_longer_relied_on(
    own: Settings, cluster: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(cluster, own) as lease:
        vanish(lease)
        monkeypatch.setattr(locks, "_take", silent_after())
        lease._renewed_at_s -= LEASE_S * (1 - locks.MARGIN / 2)
        with pytest.raises(LockLost, match="could not be renewed"):
            lease.require()


def silent_after(take: Callable[..., bool] | None = None) -> Callable[..., bool]:
    """Return a taking whose answer never comes, whether or not it was carried out."""

    def silent(*arguments: Any) -> bool:
        if take is not None:
            take(*arguments)
        raise OutcomeUnknown("The database did not say whether this was written")

    return silent


def test_a_taking_and_a_renewal_that_were_carried_out_without_an_answer_are_recognised(
    own: Settings, cluster: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(cluster, own):  # whoever held it before is gone
        pass
    take, silenced = locks._take, threading.Event()

    def once_silent(*arguments: Any) -> bool:
        if silenced.is_set():
            return take(*arguments)
        silenced.set()
        return silent_after(take)(*arguments)

    monkeypatch.setattr(locks, "_take", once_silent)
    with holding(cluster, own, wait_s=LEASE_S / 2) as lease:
        silenced.clear()
        lease.require()  # its renewal gets no answer, and what is left of the lease decides
        lease.require()
        assert lease._lost is None


def test_a_lock_whose_last_renewal_got_no_answer_is_given_back(
    own: Settings, cluster: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(cluster, own) as lease:
        vanish(lease)
        monkeypatch.setattr(locks, "_take", silent_after(locks._take))
        lease.require()
        monkeypatch.undo()
    with holding(cluster, own, wait_s=0):
        pass


def run_cli(own: Settings, *arguments: str, typed: str = "") -> Any:
    environment = {
        "CASSANDRA_HOSTS": ",".join(own.cassandra_hosts),
        "CASSANDRA_PORT": str(own.cassandra_port),
        "CASSANDRA_KEYSPACE": own.cassandra_keyspace,
        "CASSANDRA_REPLICATION_FACTOR": str(own.cassandra_replication_factor),
    }
    return CliRunner().invoke(main, ["schema", *arguments], env=environment, input=typed)


def test_the_lock_is_taken_away_once_that_is_confirmed_and_its_holder_notices(own: Settings, cluster: Database) -> None:
    with holding(cluster, own) as lease:
        vanish(lease)
        refused = run_cli(own, "unlock", typed="n\n")
        assert refused.exit_code == 1
        assert "for a test. Is that process gone, and shall the lock be taken away?" in refused.stderr
        lease.require()
        vanish(lease)
        confirmed = run_cli(own, "unlock", typed="y\n")
        assert confirmed.exit_code == 0, confirmed.stderr
        with holding(cluster, own, wait_s=0), pytest.raises(LockLost):
            lease.require()
    newest = histories.list_events(cluster, own.cassandra_keyspace, 1)[0]
    assert newest.kind == histories.UNLOCK
    assert "for a test" in newest.what


def test_a_lock_that_nobody_holds_needs_no_unlocking(own: Settings) -> None:
    told = run_cli(own, "unlock", "--yes")
    assert told.exit_code == 0
    assert told.stdout.startswith("Nobody holds the lock")
