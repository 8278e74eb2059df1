"""The labs' pages: both languages say the same, and what a page says is really looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from documents import find_unsaid, read_blocks

LABS = Path(__file__).parents[2] / "docs" / "labs"
ENGLISH, FRENCH = (sorted((LABS / language).glob("[1-9]*.md")) for language in ("en", "fr"))


def test_there_are_eight_labs_in_each_language() -> None:
    numbers = [f"{number}" for number in range(1, 9)]
    assert [page.name.partition("-")[0] for page in ENGLISH] == numbers
    assert [page.name.partition("-")[0] for page in FRENCH] == numbers


@pytest.mark.parametrize("pair", list(zip(ENGLISH, FRENCH, strict=True)), ids=[page.stem for page in ENGLISH])
def test_both_languages_run_the_same_and_see_the_same(pair: tuple[Path, Path]) -> None:
    english, french = (read_blocks(page) for page in pair)
    assert english
    assert english == french


@pytest.mark.parametrize(
    "page", [*ENGLISH, *FRENCH], ids=[f"{page.parent.name}-{page.stem}" for page in ENGLISH + FRENCH]
)
def test_each_lab_predicts_observes_and_explains(page: Path) -> None:
    headings = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("## ")]
    first, last = ("## Predict", "## Explain") if page.parent.name == "en" else ("## Prédire", "## Expliquer")
    assert (headings[0], headings[-1]) == (first, last)
    assert any("bserve" in heading for heading in headings)


@pytest.mark.parametrize(
    ("said", "told", "unsaid"),
    [
        ("10\n20", "10\nand\n20\n", None),
        ("10\n20", "20\n10\n", "20"),
        ("… 503", "  8 503", None),
        ("… 503", "24 200", "… 503"),
        ("key 0x… is", "key 0x12 is", None),
        ("200", "2000", "200"),
    ],
)
def test_what_a_page_says_is_found_in_its_place(said: str, told: str, unsaid: str | None) -> None:
    assert find_unsaid(said, told) == unsaid
