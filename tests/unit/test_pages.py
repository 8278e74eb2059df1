"""Cursors: opaque, checked, and never trusted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_manager.errors import RequestInvalid
from store_manager.services import pages

POSITION = "2026-11-22T12:00:00.123Z/7f0c2b1a-0000-4000-8000-000000000001"


@pytest.mark.parametrize("position", [POSITION, "2026-11-22"])
def test_a_cursor_comes_back_as_the_position_it_was_made_of(position: str) -> None:
    assert pages.decode(pages.encode(position)) == position


def test_no_cursor_is_the_beginning() -> None:
    assert pages.decode(None) is None


@pytest.mark.parametrize("cursor", ["", "x", "%%%", "2026", pages.encode("2026-02-31"), pages.encode(POSITION + "0")])
def test_a_broken_cursor_is_refused_by_name(cursor: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        pages.decode(cursor)
    assert [field.param for field in refused.value.fields] == ["cursor"]


@given(st.text())
def test_whatever_is_sent_as_a_cursor_is_read_or_refused(cursor: str) -> None:
    try:
        pages.decode(cursor)
    except RequestInvalid:
        return
