"""Sends half of a request, the rest some seconds later, and expects an answer: what is under way is finished.

Usage: slow_request.py PORT SECONDS. Exit status 1 if the answer is another than 201, or none.
"""

from __future__ import annotations

import json
import socket
import sys
import time
import uuid

HOST = "127.0.0.1"


def ask(port: int, seconds: float) -> str:
    """Make a product slowly; return the first line of the answer, empty if there is none."""
    body = json.dumps({"name": "Slow", "sku": f"SLOW-{uuid.uuid4().hex[:8]}", "price": "1.00"}).encode()
    head = f"POST /products HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.create_connection((HOST, port), timeout=30) as connection:
        connection.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode() + body[:10])
        time.sleep(seconds)
        connection.sendall(body[10:])
        return connection.makefile(encoding="latin-1").readline().strip()


if __name__ == "__main__":
    answer = ask(int(sys.argv[1]), float(sys.argv[2]))
    sys.exit(None if " 201 " in answer else answer or "no answer")
