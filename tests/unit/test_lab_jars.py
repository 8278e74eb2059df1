"""How the lab brings Cassandra's jars, against a registry on loopback that can misbehave."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from store_manager.lab import jars
from store_manager.lab.faults import LabError
from store_manager.lab.jars import Jar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 (as shutil has it)


class Registry(ThreadingHTTPServer):
    """Serves what it holds by path; a body that is cut short breaks off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.asked: list[str] = []

    def put(self, name: str, body: bytes) -> Jar:
        """Hold a jar, and return its line of a lock file."""
        self.bodies[f"/org/example/{name}/1.0/{name}-1.0.jar"] = body
        return Jar("org.example", name, "", "1.0", hashlib.sha256(body).hexdigest(), len(body))


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.bodies.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path in self.server.cut else body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with Registry() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _use_registry(monkeypatch, server.server_port)
        yield server
        server.shutdown()


def _use_registry(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr("jgo.maven._core.DEFAULT_REMOTE_REPOS", {"here": f"http://127.0.0.1:{port}"})


def _bring(directory: Path, *locked: Jar) -> list[Path]:
    return jars.bring(directory, list(locked), Console(file=StringIO()))


def test_every_locked_jar_arrives_under_its_name(registry: Registry, tmp_path: Path) -> None:
    one, two = registry.put("one", b"first"), registry.put("two", b"second" * 5000)
    paths = _bring(tmp_path, one, two)
    assert [path.name for path in paths] == ["one-1.0.jar", "two-1.0.jar"]
    assert [path.read_bytes() for path in paths] == [b"first", b"second" * 5000]


def test_what_is_there_is_not_asked_for_again(registry: Registry, tmp_path: Path) -> None:
    one = registry.put("one", b"first")
    _bring(tmp_path, one)
    registry.asked.clear()
    _bring(tmp_path, one)
    assert registry.asked == []


def test_a_jar_with_a_wrong_checksum_is_refused_and_does_not_stay(registry: Registry, tmp_path: Path) -> None:
    expected = registry.put("one", b"first")
    got = registry.put("one", b"other")
    with pytest.raises(LabError) as refused:
        _bring(tmp_path, expected)
    for told in ("org.example:one:1.0", expected.sha256, got.sha256):
        assert told in refused.value.message
    assert not list(tmp_path.glob("*.jar"))


def test_a_jar_that_was_changed_on_disk_is_refused_with_what_to_do(registry: Registry, tmp_path: Path) -> None:
    one = registry.put("one", b"first")
    (path,) = _bring(tmp_path, one)
    path.write_bytes(b"changed")
    with pytest.raises(LabError, match=f"remove {path}"):
        _bring(tmp_path, one)


def test_a_download_that_breaks_off_is_told_and_the_next_run_brings_only_the_rest(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jars, "DOWNLOADS_AT_ONCE", 1)
    one, two = registry.put("one", b"first"), registry.put("two", b"second" * 5000)
    registry.cut = {path for path in registry.bodies if "two" in path}
    with pytest.raises(LabError, match=r"org\.example:two:1\.0 broke off: try again"):
        _bring(tmp_path, one, two)
    registry.cut.clear()
    registry.asked.clear()
    assert all(path.exists() for path in _bring(tmp_path, one, two))
    assert not any("one" in path for path in registry.asked)


def test_a_registry_that_is_out_of_reach_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    _use_registry(monkeypatch, port)
    with pytest.raises(LabError, match="can't be reached"):
        _bring(tmp_path, Jar("org.example", "one", "", "1.0", "0" * 64, 5))


def test_a_jar_that_the_registry_does_not_have_is_named(registry: Registry, tmp_path: Path) -> None:
    assert registry.bodies == {}
    with pytest.raises(LabError, match=r"did not hand out org\.example:one:1\.0"):
        _bring(tmp_path, Jar("org.example", "one", "", "1.0", "0" * 64, 5))


def test_a_disk_that_is_too_full_is_told_before_anything_is_asked_for(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = registry.put("one", b"first")
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10, 9, 1))
    with pytest.raises(LabError, match=r"too full .* make room"):
        _bring(tmp_path, one)
    assert registry.asked == []


def test_a_directory_that_can_not_be_used_is_told(registry: Registry, tmp_path: Path) -> None:
    jar = registry.put("tool", b"content")
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match=r"file/jars can't be used \(not a directory\)"):
        _bring(tmp_path / "file" / "jars", jar)

    (tmp_path / jar.file_name).mkdir()
    with pytest.raises(LabError, match=rf"{jar.file_name} can't be used \(is a directory\)"):
        _bring(tmp_path, jar)


def test_what_a_killed_run_left_is_cleared_away(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / ".download-killed").mkdir()
    (tmp_path / ".download-killed" / "one-1.0.jar").write_bytes(b"fi")
    _bring(tmp_path, registry.put("one", b"first"))
    assert not list(tmp_path.glob(".download-*"))


def test_the_lock_file_names_every_jar_once_and_no_address() -> None:
    locked = jars.read_lock()
    assert len({jar.file_name for jar in locked}) == len(locked) == 65
    assert all(len(bytes.fromhex(jar.sha256)) == 32 and jar.size_bytes > 0 for jar in locked)
    assert any(jar.coordinates == jars.CASSANDRA for jar in locked)
    assert "//" not in jars.LOCK_FILE.read_text(encoding="utf-8")


def test_a_line_of_the_lock_file_is_read_as_it_was_written() -> None:
    for jar in (Jar("g", "a", "", "1", "ab", 3), Jar("g", "a", "linux", "1", "ab", 3)):
        assert Jar.parse(jar.line) == jar
