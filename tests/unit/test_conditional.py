"""How the outcome of a guarded write is found, whatever became of its copies."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from cassandra.cqlengine.query import LWTException

from store_manager.dao import conditional
from store_manager.database.deadlines import deadline
from store_manager.database.failures import CopyRefused
from store_manager.errors import DatabaseUnavailable, OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Callable

REFUSED = LWTException({"[applied]": False})
APPLIED = True
SHORT = {"replicas_required": 2, "replicas_alive": 1}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def in_turn(*outcomes: Any) -> Callable[[], Any]:
    """Return a function that gives or raises each of these in turn; the last one for ever."""
    left = list(outcomes)

    def act() -> Any:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return act


never_asked = in_turn(AssertionError("nothing is to be asked"))


def test_a_write_that_applies_has_applied_and_one_that_is_refused_at_once_has_not() -> None:
    assert conditional.apply(in_turn(None), never_asked)
    assert not conditional.apply(in_turn(REFUSED), never_asked)


@pytest.mark.parametrize("landed", [True, False])
def test_when_one_of_several_copies_is_refused_a_read_says_whether_another_applied(*, landed: bool) -> None:
    assert conditional.apply(in_turn(CopyRefused("one of two")), in_turn(landed)) is landed
    lost = OutcomeUnknown("no answer")
    assert conditional.apply(in_turn(lost, REFUSED), in_turn(landed)) is landed
    assert conditional.apply(in_turn(lost, CopyRefused("one of two")), in_turn(landed)) is landed


def test_a_write_without_an_answer_is_sent_again_until_there_is_one() -> None:
    assert conditional.apply(in_turn(OutcomeUnknown(""), OutcomeUnknown(""), None), never_asked)


def test_a_read_that_can_not_say_is_made_again() -> None:
    landed = in_turn(DatabaseUnavailable("not now"), APPLIED)
    assert conditional.apply(in_turn(CopyRefused("one of two")), landed)


def test_a_read_that_finds_later_changes_leaves_the_outcome_unknown_at_once() -> None:
    hidden = OutcomeUnknown("others have changed it since")
    with pytest.raises(OutcomeUnknown) as raised:
        conditional.apply(in_turn(CopyRefused("one of two")), in_turn(hidden))
    assert raised.value is hidden


def test_without_any_answer_the_outcome_is_unknown_when_time_is_over() -> None:
    with deadline(5), pytest.raises(OutcomeUnknown):
        conditional.apply(in_turn(OutcomeUnknown("no answer")), never_asked)


def test_what_was_never_sent_has_not_happened() -> None:
    with pytest.raises(DatabaseUnavailable):
        conditional.apply(in_turn(DatabaseUnavailable("refused")), never_asked)


def test_nobody_waits_for_copies_that_can_not_be_reached() -> None:
    short, began_s = OutcomeUnknown("no answer", **SHORT), time.monotonic()
    later = DatabaseUnavailable("too few", **SHORT)
    for write in (in_turn(short), in_turn(OutcomeUnknown("no answer"), later)):
        with pytest.raises(OutcomeUnknown) as raised:
            conditional.apply(write, never_asked)
        assert raised.value.details == SHORT
    with pytest.raises(OutcomeUnknown):
        conditional.apply(in_turn(CopyRefused("one of two")), in_turn(later))
    assert time.monotonic() < began_s + 1
