"""What a benchmark is held to: each bar with what was found and whether it was met. Pure: numbers in, sentences out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console


@dataclass(frozen=True)
class Bar:
    """A promise in numbers: what was found is at least, or at most, the bound."""

    name: str
    found: float
    bound: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.found >= self.bound if self.at_least else self.found <= self.bound

    def __str__(self) -> str:
        how = "at least" if self.at_least else "at most"
        return f"{'met' if self.met else 'NOT MET'}: {self.name}: {self.found:.2f}, {how} {self.bound:g}"


def show(bars: Iterable[Bar], console: Console) -> None:
    """Print a line for each."""
    for bar in bars:
        console.print(f"[{'green' if bar.met else 'red'}]{bar}", highlight=False)


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value below which this part of all values lies, 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0
