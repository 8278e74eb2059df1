"""The ring of tokens: who owns what, and where one more node fits best."""

from __future__ import annotations

from store_manager.rings import halve_widest, shares

ONE, TWO = "127.0.7.1", "127.0.7.2"


def test_a_token_owns_what_precedes_it() -> None:
    quarter = 2**62
    assert shares({ONE: (-(2**63),), TWO: (-(2**63) + quarter,)}) == {ONE: 0.75, TWO: 0.25}
    assert shares({ONE: (5,)}) == {ONE: 1.0}
    assert shares({ONE: ()}) == {ONE: 0.0}
    assert sum(shares({ONE: (-5, 7), TWO: (0, 2**62)}).values()) == 1.0


def test_the_widest_range_is_halved() -> None:
    quarter = 2**62
    token, owner = halve_widest({ONE: (-(2**63),), TWO: (-(2**63) + quarter,)})
    assert owner == ONE
    assert shares({ONE: (-(2**63),), TWO: (-(2**63) + quarter,), "127.0.7.3": (token,)}) == {
        ONE: 0.375,
        TWO: 0.25,
        "127.0.7.3": 0.375,
    }


def test_of_a_single_node_the_new_one_takes_half() -> None:
    token, owner = halve_widest({ONE: (-(2**63),)})
    assert (token, owner) == (0, ONE)
