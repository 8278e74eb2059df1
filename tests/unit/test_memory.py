"""What the garbage collector passes over."""

from __future__ import annotations

import gc

from store_manager import memory


def test_what_was_loaded_is_not_looked_through_again() -> None:
    before = gc.get_freeze_count()
    try:
        memory.settle()
        assert gc.get_freeze_count() > before + 10_000
    finally:
        gc.unfreeze()
