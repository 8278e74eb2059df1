"""Cassandra's jars: the lock file that names them, and how they come into a directory.

`jars.lock` holds Maven coordinates, checksums and sizes; where the registry is, only jgo knows. A jar whose checksum
differs never gets its final name. Nothing here starts a process.

To renew the lock file, after changing `CASSANDRA`: `python -m store_manager.lab.jars lock`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from jgo.maven import MavenContext, PythonResolver
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from store_manager.lab.faults import LabError, files_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jgo.maven import Artifact

CASSANDRA = "org.apache.cassandra:cassandra-all:4.1.10"
LOCK_FILE = Path(__file__).with_name("jars.lock")
JAVA_AGENT = "jamm"
DOWNLOADS_AT_ONCE = 8
REGISTRY_TIMEOUT_S = 30
FREE_MARGIN_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Jar:
    """One locked jar."""

    group: str
    artifact: str
    classifier: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def coordinates(self) -> str:
        """`group:artifact[:classifier]:version`."""
        return ":".join(part for part in (self.group, self.artifact, self.classifier, self.version) if part)

    @property
    def file_name(self) -> str:
        """The name of its file, unique in the lock file."""
        return "-".join(part for part in (self.artifact, self.version, self.classifier) if part) + ".jar"

    @property
    def line(self) -> str:
        """Its line of the lock file."""
        return f"{self.coordinates} sha256:{self.sha256} {self.size_bytes}"

    @classmethod
    def parse(cls, line: str) -> Jar:
        """Read a line of the lock file."""
        coordinates, checksum, size_bytes = line.split()
        group, artifact, *classifier, version = coordinates.split(":")
        return cls(group, artifact, "".join(classifier), version, checksum.removeprefix("sha256:"), int(size_bytes))


def read_lock(path: Path = LOCK_FILE) -> list[Jar]:
    """Return every jar that the lock file names."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Jar.parse(line) for line in lines if line and not line.startswith("#")]


def bring(directory: Path, locked: list[Jar] | None = None, console: Console | None = None) -> list[Path]:
    """Return the path of every locked jar in `directory`, after downloading those that are not there yet.

    Jars that an interrupted run brought are kept. Raises LabError when the registry can't be reached, a download
    breaks, a jar differs from the lock file, the disk is full, or the directory can't be used.
    """
    locked = read_lock() if locked is None else locked
    with files_of(directory), _alone_in(directory):
        missing = [jar for jar in locked if not _is_there(jar, directory)]
        if missing:
            _check_free_space(directory, missing)
            _download_all(missing, directory, console or Console(stderr=True))
    return [directory / jar.file_name for jar in locked]


def checksum_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    # The kernel drops the lock with its process, so that it is never stale, and what a killed run left can be removed.
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left_over in directory.glob(".download-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        yield


def _is_there(jar: Jar, directory: Path) -> bool:
    path = directory / jar.file_name
    if not path.exists():
        return False
    _verify(jar, path, f"remove {path} and try again")
    return True


def _verify(jar: Jar, path: Path, remedy: str) -> None:
    actual = checksum_of(path)
    if actual != jar.sha256:
        message = (
            f"The jar {jar.coordinates} is not the locked one (SHA-256 expected {jar.sha256}, got {actual}): {remedy}."
        )
        raise LabError(message)


def _check_free_space(directory: Path, missing: list[Jar]) -> None:
    needed = sum(jar.size_bytes for jar in missing) + FREE_MARGIN_BYTES
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise LabError(_disk_full(directory, needed, free))


def _disk_full(directory: Path, needed: int, free: int) -> str:
    return (
        f"The disk of {directory} is too full for Cassandra's jars: {needed // 2**20} MB are needed and "
        f"{free // 2**20} MB are free; make room and try again."
    )


def _download_all(missing: list[Jar], directory: Path, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        task = progress.add_task("Bringing Cassandra", total=sum(jar.size_bytes for jar in missing))
        jobs = [pool.submit(_download, jar, directory, lambda count: progress.advance(task, count)) for jar in missing]
        try:
            for job in as_completed(jobs):
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _download(jar: Jar, directory: Path, advance: Callable[[int], None]) -> None:
    # A cache of its own for each download: jgo writes straight to the final name, so a broken one must stay apart.
    with tempfile.TemporaryDirectory(prefix=".download-", dir=directory) as cache:
        path = _fetch(jar, Path(cache), advance)
        _verify(jar, path, "the registry or something on the way to it changed it; try again from another network")
        path.replace(directory / jar.file_name)


def _fetch(jar: Jar, cache: Path, advance: Callable[[int], None]) -> Path:
    @contextmanager
    def count_bytes(_name: str, _total_bytes: int) -> Iterator[Callable[[int], None]]:
        yield advance

    resolver = PythonResolver(progress_callback=count_bytes)
    context = MavenContext(resolver=resolver, repo_cache=cache, local_repos=[], timeout=REGISTRY_TIMEOUT_S)
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    try:
        return component.artifact(jar.classifier).resolve()
    except (requests.ConnectTimeout, requests.exceptions.ProxyError, requests.exceptions.SSLError) as error:
        raise LabError(_unreachable(jar)) from error
    except (requests.exceptions.ChunkedEncodingError, requests.Timeout) as error:
        message = f"The download of {jar.coordinates} broke off: try again, what has arrived is kept."
        raise LabError(message) from error
    except requests.RequestException as error:
        raise LabError(_unreachable(jar)) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise LabError(_disk_full(cache.parent, jar.size_bytes, shutil.disk_usage(cache).free)) from error
    except RuntimeError as error:
        message = f"The package registry did not hand out {jar.coordinates}: check the network's proxy and try again."
        raise LabError(message) from error


def _unreachable(jar: Jar) -> str:
    return f"The registry of Java packages can't be reached for {jar.coordinates}: check the network and try again."


def lock(path: Path = LOCK_FILE) -> int:
    """Resolve Cassandra with all it needs at run time, write the lock file, and return the number of jars."""
    with tempfile.TemporaryDirectory() as cache:
        context = MavenContext(repo_cache=Path(cache), local_repos=[], timeout=REGISTRY_TIMEOUT_S)
        inputs, needed = context.resolver.resolve([context.create_dependency(CASSANDRA)])
        jars = sorted((_locked(dependency.artifact) for dependency in inputs + needed), key=lambda jar: jar.coordinates)
    header = "# Written by `python -m store_manager.lab.jars lock`: coordinates, checksum, bytes.\n"
    path.write_text(header + "".join(f"{jar.line}\n" for jar in jars), encoding="utf-8")
    return len(jars)


def _locked(artifact: Artifact) -> Jar:
    path = artifact.resolve()
    version, size_bytes = artifact.version, path.stat().st_size
    return Jar(artifact.groupId, artifact.artifactId, artifact.classifier, version, checksum_of(path), size_bytes)


if __name__ == "__main__":
    if sys.argv[1:] != ["lock"]:
        sys.exit("usage: python -m store_manager.lab.jars lock")
    Console().print(f"{lock()} jars locked in {LOCK_FILE.name}")
