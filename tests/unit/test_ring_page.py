"""The page `/ring`: in the reader's language, with its own files only, and with no sentence missing or left over."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import store_manager
from store_manager.controllers.ring import TEXTS
from store_manager.database.surveys import State

WEB = Path(store_manager.__file__).parent / "web"
SCRIPTS = sorted((WEB / "static" / "ring").glob("*.js"))
GAP = re.compile(r"\{(\w+)\}")


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("fr", "fr"),
        ("fr-CA, en;q=0.5", "fr"),
        ("de, fr;q=0.8, en;q=0.7", "fr"),
        ("en-GB, fr;q=0.9", "en"),
        ("de", "en"),
        ("fr;q=0", "en"),
        ("*", "en"),
        ("", "en"),
    ],
)
def test_the_page_comes_in_the_language_that_the_browser_prefers(client: Any, accepted: str, language: str) -> None:
    page = client.get("/ring", headers={"Accept-Language": accepted})

    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert f'<html lang="{language}">' in page.text
    assert TEXTS[language]["title"] in page.text
    assert (page.headers["Content-Language"], page.headers["Vary"]) == (language, "Accept-Language")


def test_a_language_that_is_asked_for_in_the_address_comes_before_the_browser_s(client: Any) -> None:
    assert '<html lang="fr">' in client.get("/ring?lang=fr", headers={"Accept-Language": "en"}).text
    assert '<html lang="en">' in client.get("/ring?lang=de", headers={"Accept-Language": "en"}).text


def test_each_language_is_one_link_away_and_named_in_itself(client: Any) -> None:
    links = re.findall(
        r'<a class="language" href="\?lang=(\w+)" lang="(\w+)" hreflang="(\w+)"', client.get("/ring").text
    )

    assert sorted(links) == [("en",) * 3, ("fr",) * 3]


def test_the_page_loads_its_own_files_only_and_all_that_it_names_is_there(client: Any) -> None:
    page = client.get("/ring")
    loaded = [one for one in re.findall(r'(?:src|href)="([^"]+)"', page.text) if not one.startswith(("?", "#"))]

    assert len(loaded) == 4
    for address in loaded:
        assert client.get(address).status_code == 200, address
    imported = {name for script in SCRIPTS for name in re.findall(r'from "\./([\w.]+)"', script.read_text("utf-8"))}
    assert imported <= {script.name for script in SCRIPTS}


def test_the_page_forbids_the_browser_everything_from_elsewhere_and_everything_inline(client: Any) -> None:
    page = client.get("/ring")

    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert 'style="' not in page.text
    assert not re.search(r" on\w+=", page.text)
    assert re.findall(r"<script(?! type=\"module\" src=| type=\"application/json\")", page.text) == []


def test_both_languages_have_the_same_sentences_with_the_same_gaps() -> None:
    english, french = TEXTS["en"], TEXTS["fr"]

    assert list(english) == list(french)
    for name, sentence in english.items():
        assert set(GAP.findall(sentence)) == set(GAP.findall(french[name])), name
        assert sentence.strip(), name
        assert french[name].strip(), name


def test_every_sentence_is_used_and_every_sentence_that_is_used_is_there() -> None:
    template = (WEB / "templates" / "ring.html").read_text("utf-8")
    code = "".join(script.read_text("utf-8") for script in SCRIPTS)
    in_template = set(re.findall(r"texts\.(\w+)", template)) | {"READ", "WRITE"}
    in_code = set(re.findall(r'"(\w+)"', code)) | {f"state_{state}" for state in (*State, "SEEN")}
    results = {name for name in TEXTS["en"] if name.startswith("result_")}
    used = in_template | in_code | results | set(State)

    assert set(TEXTS["en"]) - used == set()
    assert {*State, *(f"state_{state}" for state in State)} - set(TEXTS["en"]) == set()
    assert in_template - set(TEXTS["en"]) == set()
    assert set(re.findall(r'say\("(\w+)"', code)) - set(TEXTS["en"]) == set()


def test_french_punctuation_has_the_spaces_that_french_wants() -> None:
    for name, sentence in TEXTS["fr"].items():
        assert not re.search(r"[^\s][:;!?](\s|$)", sentence), name
        assert "'" not in sentence, name
