"""Whether the service of these settings is ready, asked from the same machine or container.

    python -m store_manager.readiness

It ends with status 0 or 1. It is what the image's health check runs, every few seconds, so it imports next to nothing.
"""

from __future__ import annotations

import ssl
import sys
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING

from store_manager import settings

if TYPE_CHECKING:
    from store_manager.settings import Settings

TIMEOUT_S = 3.0
_ANY = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - nobody listens here, it is asked


def is_ready(own: Settings, timeout_s: float = TIMEOUT_S) -> bool:
    """Ask `/readyz`; no answer is no."""
    url = own.http_url
    for everywhere, here in _ANY.items():
        url = url.replace(f"//{everywhere}:", f"//{here}:")
    context = ssl.create_default_context()
    # Its certificate is for the name by which others call it, and this is this machine itself.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        urllib.request.urlopen(f"{url}/readyz", timeout=timeout_s, context=context).close()  # noqa: S310 - see above
    except (OSError, HTTPException):
        return False
    return True


if __name__ == "__main__":
    sys.exit(not is_ready(settings.load()))
