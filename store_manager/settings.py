"""Every setting: its name, default, unit, meaning and what is allowed, each declared once.

A setting comes from the environment, else from the file `.env` of the working directory, else from its default; a
secret may stand in a file that the setting `NAME_FILE` names. The table in `docs/reference/settings.md` and the file
`.env.sample` are made from here. Nothing here acts on a setting.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decouple import Config, RepositoryEmpty, RepositoryEnv

from store_manager.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Kind:
    """What values a setting may have: `parse` raises ValueError for any other, `allowed` says it to people."""

    allowed: str
    parse: Callable[[str], Any]


@dataclass(frozen=True)
class Setting:
    """The declaration of one setting."""

    attribute: str
    default: Any
    meaning: str
    kind: Kind
    unit: str
    secret: bool

    @property
    def name(self) -> str:
        """The name in the environment."""
        return self.attribute.upper()

    @property
    def file_name(self) -> str:
        """The name in the environment of the file that a secret may stand in."""
        return f"{self.name}_FILE"

    @property
    def default_text(self) -> str:
        """The default as it would be written in `.env`."""
        return write_value(self.default)

    def parse(self, text: str) -> Any:
        """Return the value that `text` stands for; SettingError names the setting, the value and what is allowed."""
        if not text:
            return self.default
        try:
            return self.kind.parse(text)
        except ValueError as error:
            raise self.refuse(text) from error

    def refuse(self, text: str) -> SettingError:
        """Return the error that says that this value is not allowed; a secret's value stays unsaid."""
        value = "has a value that is" if self.secret else f"is {text!r}, which is"
        return SettingError(f"{self.name} {value} not allowed: {self.kind.allowed}", setting=self.name)


def write_value(value: Any) -> str:
    """Return a setting's value as it is written in the environment."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _matching(pattern: str, allowed: str) -> Kind:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return Kind(allowed, parse)


def _one_of(*options: str) -> Kind:
    def parse(text: str) -> str:
        return options[[option.lower() for option in options].index(text.lower())]

    return Kind(f"one of {', '.join(options)}", parse)


def _between(least: float, most: float, number: type[int | float]) -> Kind:
    def parse(text: str) -> float:
        value = number(text)
        if not least <= value <= most:
            raise ValueError(text)
        return value

    return Kind(f"{'a whole number' if number is int else 'a number'} from {least} to {most}", parse)


def _parse_hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(part.strip() for part in text.split(","))
    if not all(re.fullmatch(r"[A-Za-z0-9._:-]+", host) for host in hosts):
        raise ValueError(text)
    return hosts


def _parse_endpoints(text: str) -> tuple[str, ...]:
    endpoints = tuple(part.strip() for part in text.split(","))
    if not all(re.fullmatch(r"[A-Za-z0-9._-]+(:\d{1,5})?", endpoint) for endpoint in endpoints):
        raise ValueError(text)
    return endpoints


_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _parse_boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(text)
    return _BOOLEANS[text.lower()]


def _parse_file(text: str) -> str:
    if not Path(text).is_file():
        raise ValueError(text)
    return text


def _parse_certificates(text: str) -> str:
    try:
        ssl.create_default_context(cafile=text)
    except OSError as error:
        raise ValueError(text) from error
    return text


_TEXT = Kind("any text", str)
_BOOLEAN = Kind("true or false", _parse_boolean)
_FILE = Kind("the path of a file that exists", _parse_file)
_CERTIFICATES = Kind("the path of a PEM file of certificates", _parse_certificates)
_HOSTS = Kind("host names or addresses, separated by commas", _parse_hosts)
_PORT = _between(1, 65535, int)
_ENDPOINTS = Kind("host or host:port, separated by commas", _parse_endpoints)
_CONSISTENCY = _one_of("ONE", "TWO", "THREE", "QUORUM", "ALL", "LOCAL_QUORUM", "LOCAL_ONE")
_SECONDS = _between(0.1, 600, float)


def _declare(default: Any, meaning: str, kind: Kind, *, unit: str = "", secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"about": (meaning, kind, unit, secret)})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of one run, checked. Made by `load`, or by hand in tests."""

    cassandra_hosts: tuple[str, ...] = _declare(
        ("127.0.0.1",), "Nodes to connect to first; name all of them, each is enough", _HOSTS
    )
    cassandra_port: int = _declare(9042, "Port on which the nodes speak CQL", _PORT)
    cassandra_datacenter: str = _declare(
        "dc1",
        "Data centre whose nodes are used (the official image's default is datacenter1)",
        _matching(r"[A-Za-z0-9_-]+", "letters, digits, _ and -"),
    )
    cassandra_keyspace: str = _declare(
        "store_manager",
        "Keyspace of the store",
        _matching(r"[a-z][a-z0-9_]{0,47}", "a lower-case letter, then letters, digits and _, 48 at most"),
    )
    cassandra_replication_factor: int = _declare(
        3, "Copies of each row in the data centre (NetworkTopologyStrategy)", _between(1, 9, int)
    )
    cassandra_read_consistency: str = _declare(
        "LOCAL_QUORUM",
        "Consistency level of all other plain reads, those of recovery and of the ledger among them; it and that of "
        "writes have to take more copies together than there are, or they may miss what was acknowledged",
        _CONSISTENCY,
    )
    cassandra_catalogue_consistency: str = _declare(
        "LOCAL_QUORUM", "Consistency level at which GETs read products", _CONSISTENCY
    )
    cassandra_stock_consistency: str = _declare(
        "LOCAL_QUORUM", "Consistency level at which GETs read stocks, their movements and their reports", _CONSISTENCY
    )
    cassandra_report_consistency: str = _declare(
        "LOCAL_QUORUM", "Consistency level at which reports on sales read orders", _CONSISTENCY
    )
    cassandra_stale_reads: bool = _declare(
        default=True,
        meaning="Whether GETs of products and stocks go on at LOCAL_ONE, and say so, while too few copies answer",
        kind=_BOOLEAN,
    )
    cassandra_write_consistency: str = _declare(
        "LOCAL_QUORUM",
        "Consistency level of plain writes and of the commit of conditional ones; below a quorum, what was "
        "acknowledged may be lost with a node",
        _CONSISTENCY,
    )
    cassandra_serial_consistency: str = _declare(
        "LOCAL_SERIAL",
        "Consistency level of conditional writes; SERIAL across data centres, and the same for all services of a store",
        _one_of("LOCAL_SERIAL", "SERIAL"),
    )
    cassandra_username: str = _declare("", "User; empty for a cluster without authentication", _TEXT)
    cassandra_password: str = _declare("", "Password of the user", _TEXT, secret=True)
    cassandra_tls: bool = _declare(default=False, meaning="Whether to speak TLS with the nodes", kind=_BOOLEAN)
    cassandra_tls_ca: str = _declare(
        "", "Certificates that sign those of the nodes; empty: the system's", _CERTIFICATES
    )
    cassandra_tls_cert: str = _declare("", "Certificate by which the service shows who it is", _CERTIFICATES)
    cassandra_tls_key: str = _declare("", "Key of that certificate; empty if it is in the same file", _FILE)
    cassandra_jmx_hosts: tuple[str, ...] = _declare(
        (),
        "Management interfaces (JMX) of all nodes, for `cluster repair` and its like; empty: each address, port 7199",
        _ENDPOINTS,
    )
    cassandra_jmx_username: str = _declare("", "User of the management interfaces; empty: none is asked for", _TEXT)
    cassandra_jmx_password: str = _declare("", "Password of that user", _TEXT, secret=True)
    cassandra_connect_timeout_s: float = _declare(5.0, "How long to connect to a node may take", _SECONDS, unit="s")
    cassandra_read_timeout_s: float = _declare(2.0, "How long a read may take", _SECONDS, unit="s")
    cassandra_write_timeout_s: float = _declare(2.0, "How long a plain write may take", _SECONDS, unit="s")
    cassandra_conditional_timeout_s: float = _declare(
        1.0, "How long one attempt at a conditional write or a serial read may take", _SECONDS, unit="s"
    )
    cassandra_shortage_timeout_s: float = _declare(
        0.5,
        "How long a statement may take when the service knows that too few copies can be reached for it",
        _SECONDS,
        unit="s",
    )
    cassandra_speculative_delay_ms: int = _declare(
        100,
        "After how long a plain read or write goes to a second node as well, and to a third",
        _between(1, 60_000, int),
        unit="ms",
    )
    cassandra_conditional_delay_ms: int = _declare(
        250,
        "The same for conditional writes and serial reads, which get in each other's way",
        _between(1, 60_000, int),
        unit="ms",
    )
    cassandra_probe_timeout_s: float = _declare(
        1.0,
        "How long a node may take to answer a probe of its health; until then, it is asked last",
        _SECONDS,
        unit="s",
    )
    cassandra_heartbeat_s: float = _declare(
        5.0,
        "How often a silent connection is tested; a node that leaves the test unanswered for as long is down",
        _SECONDS,
        unit="s",
    )
    cassandra_reconnect_s: float = _declare(
        2.0, "How often at least a connection to a node that is down is tried", _SECONDS, unit="s"
    )
    request_timeout_s: float = _declare(
        10.0,
        "How long one HTTP request may take, all attempts included",
        _between(0.1, 50, float),  # what a request goes by may leave the stock after a minute
        unit="s",
    )
    order_pending_limit_s: float = _declare(
        30.0,
        "How long an order may stay PENDING before recovery gives it up; longer than REQUEST_TIMEOUT_S",
        _SECONDS,
        unit="s",
    )
    order_unpaid_limit_s: int = _declare(
        0,
        "How long an order may wait to be paid before it is cancelled, at least ORDER_PENDING_LIMIT_S; 0: for ever",
        _between(0, 28 * 24 * 3600, int),  # what recovery goes by expires after 30 days
        unit="s",
    )
    repair_alarm_percent: int = _declare(
        70,
        "Share of `gc_grace_seconds` after which `/health` says that a full repair is overdue; 0: never",
        _between(0, 99, int),
        unit="%",
    )
    paxos_repair_alarm_hours: int = _declare(
        6,
        "After how long without a repair of Paxos `/health` says that it is overdue; 0: never, for nodes that drop "
        "Paxos state by themselves (`paxos_state_purging: legacy`)",
        _between(0, 720, int),
        unit="h",
    )
    recovery_interval_s: float = _declare(
        10.0,
        "How often the service looks for orders that a crash left; 0: never (then run `store-manager recover`)",
        _between(0, 3600, float),
        unit="s",
    )
    http_host: str = _declare(
        "127.0.0.1",
        "Address to listen on; loopback only, as callers need no key",
        _matching(r"[A-Za-z0-9._:-]+", "an address"),
    )
    http_published_on_loopback: bool = _declare(
        default=False,
        meaning="Say true in a container whose port is published on the host's loopback: HTTP_HOST may be any address",
        kind=_BOOLEAN,
    )
    http_port: int = _declare(5000, "Port to listen on", _PORT)
    http_workers: int = _declare(1, "Processes that serve", _between(1, 64, int))
    http_tls_cert: str = _declare(
        "", "Certificate, and those above it, with which the API speaks HTTPS; empty: HTTP", _CERTIFICATES
    )
    http_tls_key: str = _declare("", "Key of that certificate; empty if it is in the same file", _FILE)
    http_threads: int = _declare(8, "Threads in each process", _between(1, 64, int))
    max_body_bytes: int = _declare(
        1_000_000, "Longest body of a request", _between(1_000, 100_000_000, int), unit="bytes"
    )
    schema_behind: str = _declare(
        "wait",
        "What the service does while the keyspace lacks what its Models declare: wait starts it, and it answers 503 "
        "and says so in /readyz until a sync has been; refuse ends its start with one sentence",
        _one_of("wait", "refuse"),
    )
    schema_lease_s: float = _declare(
        30.0,
        "How long the lock of `schema sync` outlives a process that is gone; it is renewed while the process works",
        _between(2, 600, float),
        unit="s",
    )
    schema_migrations: str = _declare(
        "", "Directory of the migrations; empty: `migrations` in the working directory, or in the checkout", _TEXT
    )
    store_currency: str = _declare(
        "CAD", "Currency of all prices", _matching(r"[A-Z]{3}", "three capital letters, as in ISO 4217")
    )
    log_level: str = _declare(
        "INFO", "Least important events that are logged", _one_of("DEBUG", "INFO", "WARNING", "ERROR")
    )
    log_format: str = _declare("json", "json for machines, console for people", _one_of("json", "console"))

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        self._check_address()
        self._check_limits()
        self._check_tls()
        if bool(self.cassandra_username) != bool(self.cassandra_password):
            raise SettingError(
                "CASSANDRA_USERNAME and CASSANDRA_PASSWORD need each other", setting="CASSANDRA_USERNAME"
            )

    def _check_address(self) -> None:
        if not self.http_published_on_loopback and not _is_loopback(self.http_host):
            raise SettingError(
                f"HTTP_HOST is {self.http_host!r}, which is not allowed: a loopback address, because whoever reaches "
                "the service may do everything (HTTP_PUBLISHED_ON_LOOPBACK=true where something else keeps others out)",
                setting="HTTP_HOST",
            )

    def _check_limits(self) -> None:
        if self.order_pending_limit_s <= self.request_timeout_s:
            raise SettingError(
                f"ORDER_PENDING_LIMIT_S is {self.order_pending_limit_s:g}, which is not allowed: more than "
                f"REQUEST_TIMEOUT_S ({self.request_timeout_s:g}), or orders would be given up while they are placed",
                setting="ORDER_PENDING_LIMIT_S",
            )

    def _check_tls(self) -> None:
        if self.http_tls_key and not self.http_tls_cert:
            raise SettingError("HTTP_TLS_KEY needs HTTP_TLS_CERT", setting="HTTP_TLS_CERT")
        if self.http_tls_cert:
            _check_key("HTTP_TLS", self.http_tls_cert, self.http_tls_key)
        if self.cassandra_tls_key and not self.cassandra_tls_cert:
            raise SettingError("CASSANDRA_TLS_KEY needs CASSANDRA_TLS_CERT", setting="CASSANDRA_TLS_CERT")
        if not self.cassandra_tls and (self.cassandra_tls_ca or self.cassandra_tls_cert):
            raise SettingError(
                "CASSANDRA_TLS is false, which is not allowed with CASSANDRA_TLS_CA or CASSANDRA_TLS_CERT: nothing "
                "would be encrypted; true, or none of them",
                setting="CASSANDRA_TLS",
            )
        if self.cassandra_tls_cert:
            _check_key("CASSANDRA_TLS", self.cassandra_tls_cert, self.cassandra_tls_key)

    def check_certificate(self) -> None:
        """Refuse a certificate of the API that every caller would refuse; for those who are about to serve with it.

        Everybody else goes on, so that the day on which it expires stops no command and no health check.
        """
        if self.http_tls_cert:
            _check_trusted(self.http_tls_cert, _check_key("HTTP_TLS", self.http_tls_cert, self.http_tls_key))

    @property
    def http_url(self) -> str:
        """Where the service is found, without a slash at the end."""
        host = f"[{self.http_host}]" if ":" in self.http_host else self.http_host
        return f"{'https' if self.http_tls_cert else 'http'}://{host}:{self.http_port}"

    def warnings(self, nodes: int, copies: int | None = None) -> list[str]:
        """Return sentences that say what a data centre of `nodes` nodes can't survive with these settings.

        `copies` is how many of each row the keyspace keeps, if there is one: that counts, not what the setting wants.
        """
        wanted = self.cassandra_replication_factor
        factor = copies or wanted
        name = "CASSANDRA_REPLICATION_FACTOR"
        found = []
        if factor != wanted:
            found.append(
                f"{name} is {wanted}, but that of keyspace {self.cassandra_keyspace} is {factor}, which counts: "
                "correct the setting, or change the keyspace by the steps of `store-manager schema plan`, each with "
                "its repair"
            )
            name = f"The replication factor of keyspace {self.cassandra_keyspace}"
        if factor < SAFE_REPLICATION_FACTOR:
            found.append(f"{name} is {factor}: {self._say_fragility(factor)}")
        if factor > nodes:
            found.append(
                f"{name} is {factor}, but the data centre has {nodes} node(s): a quorum counts {factor} copies, of "
                f"which {factor - nodes} can't exist"
            )
        if nodes % 2 == 0:
            found.append(
                f"The data centre has {nodes} nodes, an even number: if the network cuts them into halves, neither "
                "half has a majority"
            )
        return found

    def _say_fragility(self, factor: int) -> str:
        if factor == 1:
            return "while a node is away, its rows can't be read or written, and if its disk is lost, they are lost"
        lost = (
            "its rows can't be written, and only products and stocks can still be read"
            if self.cassandra_stale_reads
            else "its rows can't be read or written"
        )
        return f"a quorum of 2 is both copies, so while a node is away, {lost}; 3 survives that"


TOO_WEAK = ("TOO_SMALL", "TOO_WEAK")
"""How OpenSSL's reasons end when it holds a certificate for unsafe."""


def _check_key(prefix: str, certificate: str, key: str) -> ssl.SSLContext:
    """Return a server's context of a certificate, after making sure that its key is there."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:  # with a password, so that a key that is encrypted does not ask the terminal for one
        context.load_cert_chain(certificate, key or None, password="")
    except OSError as error:
        if str(getattr(error, "reason", "")).endswith(TOO_WEAK):
            raise _refuse_certificate(f"{prefix}_CERT", certificate, "its key or signature is too weak") from error
        name = f"{prefix}_KEY" if key else f"{prefix}_CERT"
        raise SettingError(
            f"{name} is {key or certificate!r}, which is not allowed: a PEM file with the key of the certificate, not "
            "encrypted",
            setting=name,
        ) from error
    return context


def _check_trusted(certificate: str, server: ssl.SSLContext) -> None:
    """Refuse what every caller would refuse: a certificate out of its time, or one for something else than a server.

    A caller who trusts it and nothing else shakes hands with it, in memory: the standard library tells a certificate's
    dates to nobody else.
    """
    caller = ssl.create_default_context(cafile=certificate)
    caller.check_hostname = False  # by which name it is called, only callers know
    caller.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # who signed it too
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        _shake_hands(caller.wrap_bio(one, other), server.wrap_bio(other, one, server_side=True))
    except ssl.SSLCertVerificationError as error:
        raise _refuse_certificate("HTTP_TLS_CERT", certificate, error.verify_message) from error
    except ssl.SSLError as error:
        why = "callers know no cipher for its kind of key"
        raise _refuse_certificate("HTTP_TLS_CERT", certificate, why) from error


def _refuse_certificate(name: str, certificate: str, why: str) -> SettingError:
    return SettingError(
        f"{name} is {certificate!r}, which is not allowed: a certificate that the other side accepts, but {why}",
        setting=name,
    )


def _shake_hands(caller: ssl.SSLObject, server: ssl.SSLObject) -> None:
    for side in (caller, server, caller):  # each says one thing, and the caller has heard the certificate
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()


SAFE_REPLICATION_FACTOR = 3

SETTINGS: tuple[Setting, ...] = tuple(
    Setting(one.name, one.default, *one.metadata["about"]) for one in dataclasses.fields(Settings)
)
"""The declarations of all settings, in the order in which they are documented."""


def load(directory: Path | None = None, **defaults: str) -> Settings:
    """Return the settings of the environment and of `.env` in `directory`, else `defaults`, else the declared ones.

    SettingError says which one is wrong.
    """
    config = Config(_read_file((directory or Path.cwd()) / ".env"))
    texts = {one: _find(one, config) or defaults.get(one.attribute, "") for one in SETTINGS}
    return Settings(**{one.attribute: one.parse(text) for one, text in texts.items()})


def _find(one: Setting, config: Config) -> str:
    """Return what is written of a setting; a secret may stand in a file of its own, as containers get it."""
    text: str = config(one.name, default="").strip()
    path = config(one.file_name, default="").strip() if one.secret else ""
    if not path:
        return text
    if text:
        raise SettingError(f"{one.name} and {one.file_name} are both given: keep one of them", setting=one.file_name)
    try:
        found = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _refuse_file(one, path, "can be read as UTF-8 text") from error
    if not found or "\n" in found:
        raise _refuse_file(one, path, "holds the secret in one line, and nothing else")
    return found


def _refuse_file(one: Setting, path: str, needed: str) -> SettingError:
    return SettingError(
        f"{one.file_name} is {path!r}, which is not allowed: the path of a file that {needed}", setting=one.file_name
    )


def _read_file(path: Path) -> RepositoryEmpty:
    if not path.is_file():
        return RepositoryEmpty()
    try:
        return RepositoryEnv(str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} can't be read as UTF-8 text: correct the file or who may read it") from error


def describe_as_markdown() -> str:
    """Return the reference of all settings, as it stands in `docs/reference/settings.md`."""
    rows = []
    for one in SETTINGS:
        rows.append(f"| `{one.name}` | {_code(one.default_text)} | {one.unit} | {one.meaning} | {one.kind.allowed} |")
        if one.secret:
            rows.append(f"| `{one.file_name}` | empty |  | {_IN_A_FILE.format(one.name)} | {_ONE_LINE} |")
    return "\n".join([_INTRODUCTION, *rows, ""])


def describe_as_env() -> str:
    """Return a `.env` file in which every setting has its default, as it stands in `.env.sample`."""
    blocks = []
    for one in SETTINGS:
        blocks.append(f"# {one.meaning}{f', in {one.unit}' if one.unit else ''}\n{one.name}={one.default_text}\n")
        if one.secret:
            blocks.append(f"# {_IN_A_FILE.format(one.name)}\n{one.file_name}=\n")
    return "\n".join(["# Copy to .env and change what differs. Made by `store-manager settings --env`.\n", *blocks])


_IN_A_FILE = "File with the value of {}, instead of that, as containers get their secrets"
_ONE_LINE = "the path of a readable file of one line"

_INTRODUCTION = """\
# Settings

Made from `store_manager/settings.py` by `store-manager settings --markdown`; a test holds it against the code.

A setting comes from the environment, else from the file `.env` of the working directory, else from its default; an
empty value is the default. A value that is not allowed ends the start with one sentence. `store-manager settings`
prints the values in force.

| setting | default | unit | meaning | allowed |
|---|---|---|---|---|"""


def _code(text: str) -> str:
    return f"`{text}`" if text else "empty"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
