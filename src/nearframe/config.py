"""Settings, declared once: they feed the file, the environment, the command line and the docs.

Each setting is a field of `Settings`. A value is taken from, later ones winning: the
default, ``nearframe.toml``, the environment (``NEARFRAME_`` and the name in capitals),
the command line (``--name-with-dashes``).
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Generic, TypeVar

from nearframe.errors import ConfigurationError
from nearframe.units import GIB, MIB, format_size_exact, parse_size

T = TypeVar("T")

ENV_PREFIX = "NEARFRAME_"
DEFAULT_FILE = Path("nearframe.toml")
#: What the catalogue's log and the index of the packs may grow by before they are next brought up to date.
#: On a disk without it a node cannot be started again.
_WORKING_BYTES = 8 * MIB


# -- kinds of values -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """How a setting's value is read and shown.

    Attributes
    ----------
    name
        As help and docs call it: ``size``, ``HOST:PORT``.
    read
        Takes the string of an environment variable or argument, or the value TOML gave;
        raises ValueError or TypeError with a message that says what is expected.
    show
        Writes a value so that `read` takes it back.
    """

    name: str
    read: Callable[[object], T]
    show: Callable[[T], str] = str


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 asks the system for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``127.0.0.1:8042``, ``[::1]:8042`` or ``localhost:8042``."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError("expected HOST:PORT, for example 127.0.0.1:8042")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text in quotes")
    return value.strip()


def _read_flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return known[_read_text(value).lower()]
    except KeyError:
        raise ValueError("expected true or false") from None


def _read_whole(value: object) -> int:
    if isinstance(value, str) and value.strip().isdigit():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("expected a whole number, 0 or more")
    return value


def _read_number(value: object) -> float:
    if isinstance(value, str):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError("expected a number, 0 or more")
    return float(value)


def _read_size(value: object) -> int:
    return parse_size(value) if isinstance(value, str) else _read_whole(value)


def _read_path(value: object) -> Path:
    text = _read_text(value)
    if not text:
        raise ValueError("expected a path")
    return Path(text).expanduser()


def _read_optional_path(value: object) -> Path | None:
    return None if value == "" else _read_path(value)


def _read_url(value: object) -> str:
    text = _read_text(value).rstrip("/")
    if text and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", text):
        raise ValueError("expected an http:// or https:// URL without query")
    return text


def _read_list(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError("expected a list of texts")
    return tuple(item.strip() for item in value if item.strip())


def _read_address(value: object) -> Address:
    return Address.parse(_read_text(value))


def _choice(*allowed: str) -> Kind[str]:
    def read(value: object) -> str:
        text = _read_text(value).lower()
        if text not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return text

    return Kind("|".join(allowed), read)


TEXT = Kind("text", _read_text)
FLAG = Kind("flag", _read_flag, lambda value: "true" if value else "false")
COUNT = Kind("number", _read_whole)
NUMBER = Kind("number", _read_number, lambda value: f"{value:g}")
SIZE = Kind("size", _read_size, format_size_exact)
PATH = Kind("path", _read_path)
OPTIONAL_PATH = Kind("path", _read_optional_path, lambda value: "" if value is None else str(value))
URL = Kind("url", _read_url)
LIST = Kind("list", _read_list, ",".join)
ADDRESS = Kind("HOST:PORT", _read_address)


# -- the table -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table.

    Attributes
    ----------
    unit
        Of a bare number: ``bytes``, ``s``, or empty.
    secret
        True if the value must not be shown.
    """

    name: str
    group: str
    kind: Kind[object]
    default: object
    prose: str
    unit: str
    secret: bool

    @property
    def variable(self) -> str:
        return ENV_PREFIX + self.name.upper()

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")

    def show(self, value: object) -> str:
        """Write a value for people; a secret one is masked."""
        return "(hidden)" if self.secret and value else self.kind.show(value)


def _setting(kind: Kind[T], default: T, group: str, prose: str, *, unit: str = "", secret: bool = False) -> T:
    declared: T = field(
        default=default, metadata={"kind": kind, "group": group, "prose": prose, "unit": unit, "secret": secret}
    )
    return declared


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one node. Immutable; made by `load`, or directly in tests."""

    home: Path = _setting(PATH, Path("nearframe-home"), "node", "Folder that holds everything this node keeps.")
    tenant: str = _setting(TEXT, "main", "node", "Tenant that unauthenticated requests belong to.")
    database_url: str = _setting(
        TEXT,
        "",
        "node",
        "SQLAlchemy URL of the catalogue; empty means SQLite inside the home folder.",
        secret=True,
    )
    log_level: str = _setting(
        _choice("debug", "info", "warning", "error"), "info", "node", "Least severe messages that are logged."
    )
    log_format: str = _setting(_choice("text", "json"), "text", "node", "Log lines as key=value text or as JSON.")

    http: Address = _setting(
        ADDRESS, Address("127.0.0.1", 8042), "network", "Where to listen; port 0 takes a free one."
    )
    insecure: bool = _setting(
        FLAG,
        False,
        "network",
        "Accept that there is no access control yet. The node then listens on loopback only, always.",
    )
    tls_cert: Path | None = _setting(OPTIONAL_PATH, None, "network", "Certificate chain (PEM); turns TLS on.")
    tls_key: Path | None = _setting(OPTIONAL_PATH, None, "network", "Private key of the certificate (PEM).")
    public_base_url: str = _setting(
        URL, "", "network", "URL that clients use when it differs from what they send as Host, e.g. behind a proxy."
    )
    trust_forwarded: bool = _setting(
        FLAG, False, "network", "Believe Forwarded and X-Forwarded-* headers; only behind a proxy that sets them."
    )
    cors_origins: tuple[str, ...] = _setting(
        LIST, (), "network", "Web origins whose pages may read from this node; * for any."
    )

    upstream: str = _setting(URL, "", "edge", "URL of the node that an edge fetches from and follows.")
    upstream_ca: Path | None = _setting(
        OPTIONAL_PATH, None, "edge", "Authority (PEM) that signed the upstream's certificate, if not a public one."
    )
    prefetch: bool = _setting(
        FLAG, True, "edge", "Once a frame of a series had to be fetched, fetch the rest in the background."
    )

    segment_bytes: int = _setting(SIZE, 128 * MIB, "storage", "Size at which a pack is closed.", unit="bytes")
    chunk_bytes: int = _setting(
        SIZE,
        MIB,
        "storage",
        "Plain bytes sealed together, a power of two; a range read opens whole chunks.",
        unit="bytes",
    )
    disk_reserve_bytes: int = _setting(
        SIZE,
        GIB,
        "storage",
        "Free disk space below which nothing more is taken in; 8 MiB are kept in any case.",
        unit="bytes",
    )
    scrub_days: int = _setting(
        COUNT, 30, "storage", "Days between scrubs, which read and prove all that is stored; 0 for never.", unit="days"
    )
    upkeep_rate_bytes: int = _setting(
        SIZE,
        32 * MIB,
        "storage",
        "Bytes a second that scrub and compaction read at most; 0 for no limit.",
        unit="bytes",
    )
    delete_policy: str = _setting(
        _choice("refuse", "remove"), "refuse", "storage", "What DELETE does: answer 403, or remove from view."
    )

    max_instance_bytes: int = _setting(SIZE, 16 * GIB, "limits", "Largest object taken in.", unit="bytes")
    max_header_bytes: int = _setting(
        SIZE, 64 * MIB, "limits", "Largest part of an object that is not pixels or bulk data.", unit="bytes"
    )
    max_nesting: int = _setting(COUNT, 32, "limits", "Deepest nesting of sequences.")
    max_elements: int = _setting(COUNT, 1_000_000, "limits", "Most data elements in one object.")
    max_fragments: int = _setting(COUNT, 250_000, "limits", "Most fragments of encapsulated pixel data.")
    max_frames: int = _setting(COUNT, 250_000, "limits", "Most frames in one object.")
    max_inflated_bytes: int = _setting(SIZE, GIB, "limits", "Largest deflated data set once inflated.", unit="bytes")
    max_inflate_ratio: int = _setting(COUNT, 800, "limits", "Highest ratio of inflated to deflated bytes.")
    max_parse_seconds: float = _setting(NUMBER, 30.0, "limits", "Longest time spent parsing one object.", unit="s")

    ingest_threads: int = _setting(COUNT, 2, "work", "Objects parsed and stored at the same time.")
    ingest_memory_bytes: int = _setting(
        SIZE, 128 * MIB, "work", "Memory that objects being taken in may use together.", unit="bytes"
    )
    spool_memory_threshold: int = _setting(
        SIZE, 4 * MIB, "work", "Size above which an object being received goes to disk.", unit="bytes"
    )
    codec_threads: int = _setting(COUNT, 2, "work", "Frames decoded or encoded at the same time.")
    renditions: bool = _setting(FLAG, True, "work", "Make HTJ2K renditions in the background.")
    perceptual: bool = _setting(FLAG, True, "work", "Compute perceptual hashes in the background.")

    search_limit: int = _setting(COUNT, 1000, "search", "Most results of one search; more are announced by Warning.")
    frame_cache_bytes: int = _setting(
        SIZE, 64 * MIB, "caches", "Memory for frames made on request (transcoded, rendered).", unit="bytes"
    )
    metadata_cache_bytes: int = _setting(
        SIZE, 32 * MIB, "caches", "Memory for prepared metadata answers.", unit="bytes"
    )
    record_cache_entries: int = _setting(COUNT, 20_000, "caches", "Catalogue records kept in memory.")

    @property
    def tls(self) -> bool:
        """True if the node speaks TLS."""
        return self.tls_cert is not None

    @property
    def kept_free_bytes(self) -> int:
        """Disk space that nothing taken in may use."""
        return max(self.disk_reserve_bytes, _WORKING_BYTES)


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(name=one.name, default=one.default, **one.metadata) for one in fields(Settings)
)
_BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}


# -- loading ---------------------------------------------------------------------------------


def load(
    *,
    file: Path | None = None,
    environment: Mapping[str, str],
    arguments: Mapping[str, object] | None = None,
) -> Settings:
    """Return the settings of this node.

    Parameters
    ----------
    file
        The file to read. None means the one NEARFRAME_CONFIG names, else ``nearframe.toml``
        in the current folder if there is one.
    environment
        Usually `os.environ`.
    arguments
        Values of the command line by setting name; None values count as not given.

    Raises
    ------
    ConfigurationError
        Naming the setting, where it was set, and what is expected.
    """
    values: dict[str, object] = {}
    for name, raw, place in _given(file, environment, arguments or {}):
        values[name] = _read(_BY_NAME[name], raw, place)
    settings = Settings(**values)  # type: ignore[arg-type]  # each value was read by its own kind
    _check_together(settings)
    return settings


def _given(
    file: Path | None, environment: Mapping[str, str], arguments: Mapping[str, object]
) -> Iterator[tuple[str, object, str]]:
    """Yield ``(name, raw value, place)``, weakest source first."""
    path = _settings_file(file, environment)
    if path is not None:
        yield from _from_file(path)
    yield from _from_environment(environment)
    for name, raw in arguments.items():
        if raw is not None:
            yield name, raw, _BY_NAME[name].option


def _settings_file(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    if file is not None:
        return file
    if named := environment.get(ENV_PREFIX + "CONFIG"):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _from_file(path: Path) -> Iterator[tuple[str, object, str]]:
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; correct --config or NEARFRAME_CONFIG") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    for name, raw in table.items():
        place = f"{path}, line {_line_of(name, text)}"
        if name not in _BY_NAME:
            raise ConfigurationError(f"{place}: no setting is called {name}{_did_you_mean(name)}")
        yield name, raw, place


def _line_of(name: str, text: str) -> int:
    # tomllib keeps no positions; a key of a flat table starts its line.
    found = re.search(rf"^\s*[\"']?\[?{re.escape(name)}\b", text, re.MULTILINE)
    return text.count("\n", 0, found.end()) + 1 if found else 1


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, object, str]]:
    for variable in sorted(environment):
        # NEARFRAME_TEST_* steer the project's own tests.
        if not variable.startswith(ENV_PREFIX) or variable.startswith((ENV_PREFIX + "CONFIG", ENV_PREFIX + "TEST_")):
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        if name not in _BY_NAME:
            raise ConfigurationError(f"{variable}: no setting is called {name}{_did_you_mean(name)}")
        yield name, environment[variable], variable


def _did_you_mean(name: str) -> str:
    close = difflib.get_close_matches(name, _BY_NAME, n=1)
    return f"; did you mean {close[0]}?" if close else "; docs/reference/settings.md lists them"


def _read(setting: Setting, raw: object, place: str) -> object:
    try:
        return setting.kind.read(raw)
    except (ValueError, TypeError) as error:
        shown = "" if setting.secret else f" {raw!r}"
        raise ConfigurationError(f"{place}: {setting.name} cannot be{shown}: {error}") from error


def _check_together(settings: Settings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        given, missing = ("tls_cert", "tls_key") if settings.tls_key is None else ("tls_key", "tls_cert")
        raise ConfigurationError(f"{given} is set and {missing} is not; TLS needs both (nearframe tls dev makes them)")
    if settings.chunk_bytes == 0 or settings.segment_bytes < settings.chunk_bytes:
        raise ConfigurationError("segment_bytes must be at least chunk_bytes, and chunk_bytes above 0")
