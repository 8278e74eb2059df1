"""Several processes sync at once: one works, and when it is frozen another goes on. In full: `make schema-drill`."""

from __future__ import annotations

import os
import signal
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks import sync_crowds
from store_manager.schema.runs import Terms
from store_manager.schema.syncs import sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store_manager.settings import Settings


@pytest.fixture
def own(settings: Settings) -> Settings:
    return replace(settings, cassandra_keyspace=f"test_crowd_{uuid.uuid4().hex[:12]}", schema_lease_s=4)


@pytest.fixture
def witness(own: Settings) -> Iterator[sync_crowds.Witness]:
    witness = sync_crowds.Witness(own)
    yield witness
    witness.database.raw.execute(f"DROP KEYSPACE {own.cassandra_keyspace}")
    witness.close()


def test_of_several_processes_one_works_and_when_it_is_frozen_another_one_goes_on(
    own: Settings, witness: sync_crowds.Witness, tmp_path: Path
) -> None:
    with sync_crowds.crowd(own, 3, tmp_path) as comers:
        witness.wait_for_steps(2)
        holder = witness.find_holder(comers)
        sync_crowds.freeze(holder)
        others = [comer for comer in comers if comer is not holder]
        sync_crowds.wait_for(others)
        sync_crowds.thaw(holder)
        sync_crowds.wait_for([holder])
    assert holder.was_stopped, holder.error
    assert [comer.process.exitcode for comer in others] == [0, 0]
    assert [comer.worked for comer in others].count(True) == 1
    witness.require_whole()
    assert set(witness.count_steps().values()) == {1}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_sync_gives_the_lock_back_and_the_next_one_goes_on(
    own: Settings, witness: sync_crowds.Witness, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    with sync_crowds.crowd(own, 1, tmp_path) as (comer,):
        witness.wait_for_steps(2)
        os.kill(comer.pid, number)
        sync_crowds.wait_for([comer])
    assert comer.process.exitcode == status
    assert "Traceback" not in comer.error
    again = sync(witness.database, own, terms=Terms(wait_s=0))
    assert 0 < len(again.steps) < sum(witness.count_steps().values())
    witness.require_whole()
