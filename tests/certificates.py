"""Certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_certificate(directory: Path, name: str, address: str = "127.0.0.1", signer: str | None = None) -> Path:
    """Make a certificate and its key, `.crt` and `.key`, and a file of both, which is returned.

    It is signed by the one of this name that was made there before, or by itself.
    """
    key, certificate = directory / f"{name}.key", directory / f"{name}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{address}"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    if signer:
        command += ["-CA", str(directory / f"{signer}.crt"), "-CAkey", str(directory / f"{signer}.key")]
        command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(command, check=True, capture_output=True)
    both = directory / f"{name}.pem"
    both.write_text(key.read_text() + certificate.read_text())
    return both
