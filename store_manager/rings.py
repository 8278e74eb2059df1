"""The ring of tokens, and the letters for a node's state: what follows from them without asking anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RING_SIZE = 2**64
FIRST_TOKEN = -(2**63)
# nodetool's letters, which operators know: up or down, and normal, joining, leaving or moving.
_LETTERS = {
    "NORMAL": "N",
    "shutdown": "N",
    "BOOT": "J",
    "BOOT_REPLACE": "J",
    "LEAVING": "L",
    "LEFT": "L",
    "MOVING": "M",
}


def letter_of(status: str) -> str:
    """Return the second letter of nodetool's state for what gossip calls it; `?` before anything is known."""
    return _LETTERS.get(status.partition(",")[0], "?")


def shares(tokens: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Return each address's part of the token ring, between 0 and 1: a token owns what precedes it."""
    owned = dict.fromkeys(tokens, 0.0)
    for span, _, address in _ranges(tokens):
        owned[address] += span / RING_SIZE
    return owned


def halve_widest(tokens: Mapping[str, Sequence[int]]) -> tuple[int, str]:
    """Return the token that halves the widest range of the ring, and the address that owns that range."""
    span, token, address = max(_ranges(tokens))
    return (token - span // 2 - FIRST_TOKEN) % RING_SIZE + FIRST_TOKEN, address


def _ranges(tokens: Mapping[str, Sequence[int]]) -> list[tuple[int, int, str]]:
    """Return of each range of the ring how wide it is, its last token and the address that owns it."""
    ring = sorted((token, address) for address, some in tokens.items() for token in some)
    return [
        ((token - ring[position - 1][0]) % RING_SIZE or RING_SIZE, token, address)
        for position, (token, address) in enumerate(ring)
    ]
