"""Several processes sync at once: one works, and when it is frozen another goes on. In full: `make schema-drill`."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks import crowds

if TYPE_CHECKING:
    from pathlib import Path

    from store_manager.settings import Settings


def test_of_several_processes_one_works_and_when_it_is_frozen_another_one_goes_on(
    settings: Settings, tmp_path: Path
) -> None:
    own = replace(settings, cassandra_keyspace=f"test_crowd_{uuid.uuid4().hex[:12]}", schema_lease_s=4)
    witness = crowds.Witness(own)
    try:
        with crowds.crowd(own, 3, tmp_path) as comers:
            witness.wait_for_steps(2)
            holder = witness.find_holder(comers)
            crowds.freeze(holder)
            others = [comer for comer in comers if comer is not holder]
            crowds.wait_for(others)
            crowds.thaw(holder)
            crowds.wait_for([holder])
        assert holder.process.exitcode == 1
        assert "The lock of the schema is lost" in holder.error
        assert [comer.process.exitcode for comer in others] == [0, 0]
        assert [comer.worked for comer in others].count(True) == 1
        witness.require_whole()
        assert set(witness.count_steps().values()) == {1}
    finally:
        witness.database.raw.execute(f"DROP KEYSPACE {own.cassandra_keyspace}")
        witness.close()
