"""Settings: where they come from, what is refused, and that the documents say what the code does."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from store_manager import server
from store_manager.cli import main
from store_manager.cli.settings import settings as command
from store_manager.errors import SettingError
from store_manager.settings import SETTINGS, Settings, describe_as_env, describe_as_markdown, load

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in SETTINGS:
        monkeypatch.delenv(one.name, raising=False)
        monkeypatch.delenv(one.file_name, raising=False)


def test_without_any_setting_the_defaults_are_in_force(tmp_path: Path) -> None:
    assert load(tmp_path) == Settings()


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("HTTP_PORT=5001\nHTTP_THREADS=3\n")
    monkeypatch.setenv("HTTP_PORT", "5002")
    loaded = load(tmp_path)
    assert (loaded.http_port, loaded.http_threads, loaded.http_workers) == (5002, 3, 1)


def test_the_file_of_a_parent_directory_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HTTP_PORT=5001\n")
    (tmp_path / "inner").mkdir()
    assert load(tmp_path / "inner").http_port == 5000


def test_what_a_verb_prefers_comes_after_the_file_and_before_the_declared_default(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LOG_FORMAT=json\n")
    loaded = load(tmp_path, log_format="console", log_level="WARNING")
    assert (loaded.log_format, loaded.log_level) == ("json", "WARNING")


def test_a_file_that_is_no_text_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"CASSANDRA_PASSWORD=\xe9\n")
    with pytest.raises(SettingError, match=r"\.env can't be read as UTF-8 text"):
        load(tmp_path)


def test_an_empty_value_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASSANDRA_REPLICATION_FACTOR", "")
    assert load(tmp_path).cassandra_replication_factor == 3


def test_hosts_are_separated_by_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASSANDRA_HOSTS", "127.0.0.1, 127.0.0.2,node-3.example")
    assert load(tmp_path).cassandra_hosts == ("127.0.0.1", "127.0.0.2", "node-3.example")


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("CASSANDRA_HOSTS", "127.0.0.1,", "separated by commas"),
        ("CASSANDRA_HOSTS", "http://127.0.0.1", "separated by commas"),
        ("CASSANDRA_PORT", "0", "from 1 to 65535"),
        ("CASSANDRA_PORT", "cql", "from 1 to 65535"),
        ("CASSANDRA_DATACENTER", "dc 1", "letters"),
        ("CASSANDRA_KEYSPACE", "Store-Manager", "lower-case"),
        ("CASSANDRA_REPLICATION_FACTOR", "0", "from 1 to 9"),
        ("CASSANDRA_READ_CONSISTENCY", "MOST", "LOCAL_QUORUM"),
        ("CASSANDRA_SERIAL_CONSISTENCY", "QUORUM", "LOCAL_SERIAL"),
        ("CASSANDRA_TLS", "maybe", "true or false"),
        ("CASSANDRA_TLS_CA", "/nowhere/ca.pem", "PEM file of certificates"),
        ("CASSANDRA_TLS_CA", __file__, "PEM file of certificates"),
        ("CASSANDRA_TLS_KEY", "/nowhere/key.pem", "a file that exists"),
        ("ORDER_UNPAID_LIMIT_S", "2592000", "from 0 to 2419200"),
        ("CASSANDRA_READ_TIMEOUT_S", "nan", "from 0.1 to 600"),
        ("REQUEST_TIMEOUT_S", "0", "from 0.1 to 50"),
        ("HTTP_HOST", "0.0.0.0", "a loopback address"),
        ("HTTP_HOST", "store.example", "a loopback address"),
        ("HTTP_THREADS", "1.5", "a whole number"),
        ("STORE_CURRENCY", "dollars", "three capital letters"),
        ("LOG_LEVEL", "LOUD", "WARNING"),
        ("LOG_FORMAT", "xml", "json, console"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_its_value_and_what_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError) as refused:
        load(tmp_path)
    assert refused.value.details["setting"] == name
    assert f"{name} is {value!r}" in refused.value.message
    assert allowed in refused.value.message


def test_a_secret_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASSANDRA_USERNAME", "store")
    monkeypatch.setenv("CASSANDRA_PASSWORD", "hunter2")
    monkeypatch.chdir(tmp_path)
    assert load(tmp_path).cassandra_password == "hunter2"
    shown = CliRunner().invoke(command)
    assert "CASSANDRA_USERNAME=store" in shown.output
    for text in (shown.output, repr(load(tmp_path)), *(str(one.refuse("hunter2")) for one in SETTINGS if one.secret)):
        assert "hunter2" not in text


def test_a_secret_may_stand_in_a_file_whose_last_line_break_is_not_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("hunter2\n", encoding="utf-8")
    monkeypatch.setenv("CASSANDRA_USERNAME", "store")
    monkeypatch.setenv("CASSANDRA_PASSWORD_FILE", str(tmp_path / "password"))
    assert load(tmp_path).cassandra_password == "hunter2"


@pytest.mark.parametrize(
    ("content", "needed"),
    [
        (None, "can be read"),
        (b"", "holds the secret in one line"),
        (b"hunter2\nand more\n", "holds the secret in one line"),
        (b"hunter2\xe9", "can be read as UTF-8"),
    ],
)
def test_a_file_that_holds_no_secret_is_named_and_its_content_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, needed: str
) -> None:
    if content is not None:
        (tmp_path / "password").write_bytes(content)
    monkeypatch.setenv("CASSANDRA_JMX_PASSWORD_FILE", str(tmp_path / "password"))
    with pytest.raises(SettingError, match=f"CASSANDRA_JMX_PASSWORD_FILE is .*password', .*{needed}") as refused:
        load(tmp_path)
    assert "hunter2" not in str(refused.value)


def test_a_secret_that_is_given_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("hunter2", encoding="utf-8")
    (tmp_path / ".env").write_text("CASSANDRA_PASSWORD=hunter3\n")
    monkeypatch.setenv("CASSANDRA_PASSWORD_FILE", str(tmp_path / "password"))
    with pytest.raises(SettingError, match="CASSANDRA_PASSWORD and CASSANDRA_PASSWORD_FILE are both given"):
        load(tmp_path)


def test_a_user_without_a_password_is_refused() -> None:
    with pytest.raises(SettingError, match="CASSANDRA_PASSWORD"):
        Settings(cassandra_username="store")


def test_a_key_without_its_certificate_is_refused() -> None:
    with pytest.raises(SettingError, match="CASSANDRA_TLS_CERT"):
        Settings(cassandra_tls_key="key.pem")


@pytest.mark.parametrize(("key", "named"), [("", "HTTP_TLS_CERT"), (__file__, "HTTP_TLS_KEY")])
def test_https_needs_a_certificate_and_its_key(key: str, named: str) -> None:
    with pytest.raises(SettingError, match=f"{named} is .*, which is not allowed"):
        Settings(http_tls_cert=__file__, http_tls_key=key)
    with pytest.raises(SettingError, match="HTTP_TLS_KEY needs HTTP_TLS_CERT"):
        Settings(http_tls_key=__file__)


ELLIPTIC = "ec -pkeyopt ec_paramgen_curve:{}"
"""What openssl is told to make a key on an elliptic curve."""


@pytest.fixture
def certified(tmp_path: Path) -> Callable[..., str]:
    """Make a certificate that signs itself, good from one day to another, counted from now; its key is beside it."""

    def make(first: int, last: int, extension: str = "", key_of: str = ELLIPTIC.format("prime256v1")) -> str:
        now = datetime.now(UTC)
        key, own, config = tmp_path / "key", tmp_path / "own", tmp_path / "config"
        (tmp_path / "index").touch()
        config.write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={tmp_path}/index\nnew_certs_dir={tmp_path}\ndefault_md=sha256\n"
            "policy=p\nrand_serial=yes\nunique_subject=no\nx509_extensions=x\n[p]\ncommonName=supplied\n"
            f"[x]\nsubjectAltName=IP:127.0.0.1\n{extension}\n"
        )
        ask = ["openssl", "req", "-new", "-newkey", *key_of.split(), "-nodes"]
        ask += ["-subj", "/CN=store", "-keyout", str(key), "-out", str(own) + ".csr"]
        sign = ["openssl", "ca", "-batch", "-selfsign", "-config", str(config), "-notext", "-keyfile", str(key)]
        sign += ["-in", str(own) + ".csr", "-out", str(own)]
        for option, day in (("-startdate", first), ("-enddate", last)):
            sign += [option, f"{now + timedelta(days=day):%Y%m%d%H%M%SZ}"]
        for step in (ask, sign):
            subprocess.run(step, check=True, capture_output=True)
        both = tmp_path / "both.pem"
        both.write_text(key.read_text() + own.read_text())
        return str(both)

    return make


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
@pytest.mark.parametrize(
    ("made", "why"),
    [
        ((-2, -1), "certificate has expired"),
        ((1, 2), "certificate is not yet valid"),
        ((-1, 1, "extendedKeyUsage=clientAuth"), "certificate purpose"),
        ((-1, 1, "", ELLIPTIC.format("secp256k1")), "no cipher for its kind of key"),
    ],
)
def test_a_certificate_that_callers_would_refuse_is_refused_at_the_start(
    certified: Callable[..., str], made: tuple[Any, ...], why: str
) -> None:
    Settings(http_tls_cert=certified(-1, 1)).check_certificate()
    refused = Settings(http_tls_cert=certified(*made))
    with pytest.raises(SettingError, match=f"HTTP_TLS_CERT is .*{why}"):
        refused.check_certificate()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_a_certificate_with_a_key_that_is_too_short_is_refused(certified: Callable[..., str]) -> None:
    with pytest.raises(SettingError, match=r"HTTP_TLS_CERT is .*too weak"):
        Settings(http_tls_cert=certified(-1, 1, key_of="rsa:1024"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_a_certificate_that_has_expired_stops_no_command_but_those_that_serve(
    certified: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HTTP_TLS_CERT", certified(-2, -1))
    monkeypatch.setattr(server, "find_address", lambda *_: pytest.fail("it goes on"))
    assert CliRunner().invoke(command).exit_code == 0
    for verb in ("serve", "run"):
        refused = CliRunner().invoke(main, [verb])
        assert refused.exit_code == 1
        assert "certificate has expired" in refused.output


def test_certificates_without_tls_are_refused_for_nothing_would_be_encrypted() -> None:
    with pytest.raises(SettingError, match="CASSANDRA_TLS is false"):
        Settings(cassandra_tls_ca="ca.pem")


@pytest.mark.parametrize(("key", "named"), [("", "CASSANDRA_TLS_CERT"), (__file__, "CASSANDRA_TLS_KEY")])
def test_a_certificate_whose_key_is_not_there_is_refused(key: str, named: str) -> None:
    with pytest.raises(SettingError, match=f"{named} is .*, which is not allowed"):
        Settings(cassandra_tls=True, cassandra_tls_cert=__file__, cassandra_tls_key=key)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.3", "::1", "localhost"])
def test_any_loopback_address_may_be_listened_on(host: str) -> None:
    assert Settings(http_host=host).http_host == host


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:5000"), ("::1", "http://[::1]:5000")])
def test_the_address_that_is_told_can_be_opened(host: str, url: str) -> None:
    assert Settings(http_host=host).http_url == url


def test_another_address_needs_an_explicit_yes() -> None:
    assert Settings(http_host="0.0.0.0", http_published_on_loopback=True).http_host == "0.0.0.0"


def test_three_copies_on_three_nodes_need_no_warning() -> None:
    assert Settings().warnings(3) == []


@pytest.mark.parametrize(
    ("replicas", "nodes", "words"),
    [
        (1, 1, ["FACTOR is 1", "if its disk is lost"]),
        (2, 3, ["FACTOR is 2", "while a node is away", "only products and stocks can still be read"]),
        (3, 4, ["4 nodes, an even number", "neither half"]),
        (3, 1, ["FACTOR is 3, but the data centre has 1 node(s)", "2 can't exist"]),
    ],
)
def test_a_weak_cluster_is_warned_of_with_what_it_cannot_survive(replicas: int, nodes: int, words: list[str]) -> None:
    [warning] = Settings(cassandra_replication_factor=replicas).warnings(nodes)
    assert all(word in warning for word in words)


def test_two_copies_without_stale_reads_can_not_be_read_while_one_is_away() -> None:
    [warning] = Settings(cassandra_replication_factor=2, cassandra_stale_reads=False).warnings(3)
    assert "its rows can't be read or written" in warning


def test_the_copies_that_a_keyspace_keeps_count_and_not_those_that_are_wanted() -> None:
    other, fragile = Settings().warnings(3, 1)
    assert other.startswith("CASSANDRA_REPLICATION_FACTOR is 3, but that of keyspace store_manager is 1, ")
    assert "store-manager schema plan" in other
    assert fragile.startswith("The replication factor of keyspace store_manager is 1: ")
    assert len(Settings(cassandra_replication_factor=1).warnings(3, 3)) == 1
    assert Settings().warnings(3, 3) == []


def test_each_weakness_is_warned_of() -> None:
    assert len(Settings(cassandra_replication_factor=1).warnings(2)) == 2
    assert len(Settings(cassandra_replication_factor=3).warnings(2)) == 2


def test_the_reference_says_what_the_code_does() -> None:
    reference = (ROOT / "docs/reference/settings.md").read_text()
    assert reference == describe_as_markdown() == CliRunner().invoke(command, ["--markdown"]).output
    assert all(f"| `{one.name}` |" in reference for one in SETTINGS)


def test_the_sample_holds_every_setting_and_loads_as_the_defaults(tmp_path: Path) -> None:
    sample = (ROOT / ".env.sample").read_text()
    assert sample == describe_as_env() == CliRunner().invoke(command, ["--env"]).output
    assert all(f"\n{one.name}=" in sample for one in SETTINGS)
    assert all((f"\n{one.file_name}=" in sample) == one.secret for one in SETTINGS)
    (tmp_path / ".env").write_text(sample)
    assert load(tmp_path) == Settings()
