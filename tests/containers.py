"""Cassandra in a container, for functional tests. The embedded node is the lab's; nothing here measures anything."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from testcontainers.community.cassandra import CassandraContainer
from testcontainers.core.config import testcontainers_config as config

if TYPE_CHECKING:
    from collections.abc import Iterator

CASSANDRA_IMAGE = os.environ.get("CASSANDRA_IMAGE", "cassandra:4.1")
LOOPBACK = "127.0.0.1"
DATA_CENTER = "dc1"
# The image's own defaults would lose the last writes on a kill, and answer conditional writes the older way.
DURABLE = (
    "-Dcassandra.config.allow_system_properties=true",
    "-Dcassandra.settings.commitlog_sync=batch",
    "-Dcassandra.settings.commitlog_sync_period=0ms",
    "-Dcassandra.settings.paxos_variant=v2",
)


def engine_has_image(image: str = CASSANDRA_IMAGE) -> bool:
    """Tell whether a container engine answers that has this image, or can pull it."""
    try:
        client = docker.from_env()
    except DockerException:
        return False
    try:
        client.images.get(image)
    except ImageNotFound:
        return _pull(client, image)
    except DockerException:
        return False
    else:
        return True
    finally:
        client.close()


def _pull(client: docker.DockerClient, image: str) -> bool:
    try:
        client.images.pull(image)
    except APIError:
        return False
    return True


@contextmanager
def start_container(**variables: str) -> Iterator[tuple[str, int]]:
    """Run one Cassandra, and yield the host and port where it answers CQL; nothing of it is left afterwards.

    `variables` are those of the official image, on top of what the tests need.
    """
    # What removes containers after a killed run is an image of its own; where it is missing, tests still run.
    config.ryuk_disabled = config.ryuk_disabled or not engine_has_image(config.ryuk_image)
    container = CassandraContainer(CASSANDRA_IMAGE)
    # Published on the loopback address only: nobody else on the network may reach a database without a password.
    container.ports = {f"{container.CQL_PORT}/tcp": (LOOPBACK,)}  # type: ignore[dict-item]  # docker takes it so
    container.with_env("CASSANDRA_DC", DATA_CENTER).with_env("MAX_HEAP_SIZE", "512M")
    container.with_env("JVM_EXTRA_OPTS", " ".join(DURABLE)).with_envs(**variables)
    with container:
        port = container.get_docker_client().port(container.get_container_id(), container.CQL_PORT)
        yield LOOPBACK, int(port)
