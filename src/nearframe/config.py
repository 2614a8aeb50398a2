"""Settings, declared once: they feed the file, the environment, the command line and the docs.

Each setting is a field of `Settings`. A value is taken from, later ones winning: the
default, ``nearframe.toml``, the environment (``NEARFRAME_`` and the name in capitals),
the command line (``--name-with-dashes``).
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import unquote

from nearframe.errors import ConfigurationError
from nearframe.settingkinds import (
    ADDRESS,
    AE_TITLE,
    COUNT,
    DATABASE_URL,
    DICOM_SCHEME,
    DURATION,
    FLAG,
    LIST,
    NETWORKS,
    NODE_NAME,
    NUMBER,
    OPTIONAL_ADDRESS,
    OPTIONAL_PATH,
    PATH,
    SIZE,
    TABLES,
    TEXT,
    URL,
    URLS,
    Address,
    Kind,
    Tables,
    choice,
)
from nearframe.units import GIB, MIB

T = TypeVar("T")

ENV_PREFIX = "NEARFRAME_"
DEFAULT_FILE = Path("nearframe.toml")
#: What the catalogue's log and the index of the packs may grow by before they are next brought up to date.
#: On a disk without it a node cannot be started again.
WORKING_BYTES = 8 * MIB


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
        DATABASE_URL,
        "",
        "node",
        "Catalogue in PostgreSQL (postgresql://user@host/database); empty means SQLite in the home folder.",
        secret=True,
    )
    log_level: str = _setting(
        choice("debug", "info", "warning", "error"), "info", "node", "Least severe messages that are logged."
    )
    log_format: str = _setting(choice("text", "json"), "text", "node", "Log lines as key=value text or as JSON.")

    http: Address = _setting(
        ADDRESS, Address("127.0.0.1", 8042), "network", "Where to listen; port 0 takes a free one."
    )
    insecure: bool = _setting(
        FLAG,
        False,
        "network",
        "Accept that there is no access control yet. The node then listens on loopback only, always.",
    )
    drain_s: float = _setting(
        NUMBER,
        0.0,
        "network",
        "How long a node that is told to stop still answers, while /ready says 503: for a balancer that asks there. "
        "Twice the time between two of its questions.",
        unit="s",
    )
    stop_grace_s: float = _setting(
        NUMBER,
        10.0,
        "network",
        "How long requests and associations under way may take to finish when the node stops; then they are cut.",
        unit="s",
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
    name: str = _setting(
        NODE_NAME,
        "",
        "network",
        "What clients see this node called in the list of nodes; one is made up if it is empty.",
    )
    networks: tuple[str, ...] = _setting(
        NETWORKS, (), "network", "Networks whose clients are nearest to this node, e.g. 10.1.0.0/16."
    )
    edges: Tables = _setting(
        TABLES,
        (),
        "network",
        "Nodes that clients are told of besides those that announce themselves: [[edges]] tables with name, url, "
        "networks, rank.",
    )
    dicom: Address | None = _setting(
        OPTIONAL_ADDRESS, None, "dicom", "Where to listen for DICOM associations; not at all if it is empty."
    )
    ae_title: str = _setting(AE_TITLE, "NEARFRAME", "dicom", "Application entity title of this node.")
    dicom_tls_cert: Path | None = _setting(
        OPTIONAL_PATH,
        None,
        "dicom",
        "Certificate chain (PEM); turns TLS on for DICOM. Also shown to peers that we call by TLS.",
    )
    dicom_tls_key: Path | None = _setting(OPTIONAL_PATH, None, "dicom", "Private key of that certificate (PEM).")
    dicom_tls_ca: Path | None = _setting(
        OPTIONAL_PATH,
        None,
        "dicom",
        "Authorities (PEM) that sign the certificates of DICOM peers. Callers without such a certificate are refused.",
    )
    peers: Tables = _setting(
        TABLES,
        (),
        "dicom",
        "DICOM peers: [[peers]] tables with ae_title, host, port, networks, may (store, query, retrieve), and tls, "
        "tls_ca, tls_cert, tls_key, tls_name. Where there are some, no other is accepted, and C-MOVE sends to these "
        "only.",
    )
    forward: Tables = _setting(
        TABLES,
        (),
        "dicom",
        "What goes on to which peer: [[forward]] tables with to (the ae_title of a peer) and conditions by keyword, "
        "such as Modality.",
    )
    forward_patience_s: float = _setting(
        NUMBER,
        900.0,
        "dicom",
        "Age of the oldest object that waits for a peer, from which health is degraded.",
        unit="s",
    )
    private_sop_classes: tuple[str, ...] = _setting(
        LIST, (), "dicom", "UIDs of private Storage SOP Classes that are taken by C-STORE too."
    )

    hl7: Address | None = _setting(
        OPTIONAL_ADDRESS, None, "hl7", "Where to listen for HL7 messages by MLLP; not at all if it is empty."
    )
    hl7_tls_cert: Path | None = _setting(OPTIONAL_PATH, None, "hl7", "Certificate chain (PEM); turns TLS on for HL7.")
    hl7_tls_key: Path | None = _setting(OPTIONAL_PATH, None, "hl7", "Private key of that certificate (PEM).")
    hl7_tls_ca: Path | None = _setting(
        OPTIONAL_PATH,
        None,
        "hl7",
        "Authorities (PEM) that sign the certificates of HL7 senders. Callers without such a certificate are refused.",
    )
    hl7_senders: Tables = _setting(
        TABLES,
        (),
        "hl7",
        "HL7 senders: [[hl7_senders]] tables with application and facility (MSH-3, MSH-4), networks, and may "
        "(patients, orders). Where there are some, messages of no other are taken.",
    )
    hl7_authorities: Tables = _setting(
        TABLES,
        (),
        "hl7",
        "What assigning authorities are called in images: [[hl7_authorities]] tables with authority (CX.4) and "
        'issuers, a list of values of Issuer of Patient ID; "" stands for images that name none. An authority that is '
        "not among them is called as it is.",
    )
    hl7_processing_id: str = _setting(
        choice("production", "training", "debugging"),
        "production",
        "hl7",
        "Which messages are taken (MSH-11): those of one of these.",
    )
    hl7_character_set: str = _setting(
        TEXT, "UNICODE UTF-8", "hl7", "Character set of HL7 messages that name none in MSH-18, as it is called there."
    )
    hl7_max_message_bytes: int = _setting(SIZE, MIB, "hl7", "Longest HL7 message that is taken.", unit="bytes")

    dictionaries: bool = _setting(
        FLAG,
        False,
        "network",
        "Offer metadata of a named version to browsers as compression dictionary (RFC 9842) for the next one.",
    )

    browser_cache: str = _setting(
        choice("off", "session", "persistent"),
        "persistent",
        "network",
        "What browsers keep of the studies opened in them: nothing, until the last page of this node is closed, or "
        "until it is told to forget.",
    )
    browser_cache_bytes: int = _setting(
        SIZE,
        8 * GIB,
        "network",
        "Most bytes of studies kept in one browser, and at most half of what the browser allows.",
        unit="bytes",
    )

    upstream: tuple[str, ...] = _setting(
        URLS,
        (),
        "edge",
        "URL of the node that an edge fetches from and follows. Several are ranked: the first that answers is used. "
        "dicom://TITLE@HOST:PORT, or dicom:// and the ae_title of one of [[peers]], is an archive that speaks DICOM's "
        "own protocol.",
    )
    upstream_kind: str = _setting(
        choice("nearframe", "dicomweb"),
        "nearframe",
        "edge",
        "What the upstream is: a node of ours, or any archive that speaks DICOMweb (its URL is the DICOMweb root).",
    )
    compare_minutes: int = _setting(
        COUNT, 5, "edge", "Minutes between two comparisons of an opened study with an archive that has no feed."
    )
    upstream_ca: Path | None = _setting(
        OPTIONAL_PATH, None, "edge", "Authority (PEM) that signed the upstream's certificate, if not a public one."
    )
    stores: str = _setting(
        choice("local", "forward"),
        "local",
        "edge",
        "What becomes of objects sent to an edge: taken in here and forwarded by itself, or passed on at once.",
    )
    outbox_patience_s: float = _setting(
        NUMBER,
        900.0,
        "edge",
        "Age of the oldest object that is here alone, not upstream, from which health is degraded.",
        unit="s",
    )
    deltas: bool = _setting(
        FLAG, True, "edge", "When a study changed, ask the upstream for the changes only, not for its whole manifest."
    )
    prefetch: bool = _setting(
        FLAG, True, "edge", "Once a frame of a series had to be fetched, fetch the rest in the background."
    )

    push: str = _setting(
        choice("none", "today", "all"),
        "today",
        "edge",
        "Studies fetched before anybody asks, if they are routine or more urgent: today's are those acquired within "
        "24 hours, or scheduled for today.",
    )
    prior_studies: int = _setting(
        COUNT, 3, "edge", "Studies of the same patient fetched when one is opened, those most alike first."
    )
    worklist: str = _setting(
        TEXT,
        "",
        "edge",
        "Who tells an edge before a DICOM archive today's patients, whose priors it fetches: TITLE@HOST:PORT, or the "
        "ae_title of one of [[peers]]; its own worklist if it is empty.",
    )
    cache_bytes: int = _setting(
        SIZE,
        0,
        "edge",
        "Room for what an edge holds; beyond it the frames of whole studies go. 0 takes four fifths of the disk that "
        "is free or holds them.",
        unit="bytes",
    )
    ttl_stat: float = _setting(
        DURATION, 24 * 3600.0, "edge", "How long after its last use a stat study goes after all that are not fresh."
    )
    ttl_active: float = _setting(DURATION, 7 * 24 * 3600.0, "edge", "The same for an active study.")
    ttl_routine: float = _setting(DURATION, 72 * 3600.0, "edge", "The same for a routine study.")
    ttl_archive: float = _setting(DURATION, 24 * 3600.0, "edge", "The same for an archived study.")
    route: Tables = _setting(
        TABLES, (), "edge", "Rules that say how urgent a study or request is, tried in order: [[route]] tables."
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
    disk_high_mark_bytes: int = _setting(
        SIZE,
        2 * GIB,
        "storage",
        "Free disk space below which nothing is made in the background, so that objects are taken in for longer.",
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
        choice("refuse", "remove"), "refuse", "storage", "What DELETE does: answer 403, or remove from view."
    )

    retention: Tables = _setting(
        TABLES,
        (),
        "storage",
        "How long studies are kept: [[retention]] tables with name, keep_years, until_age, counts_from, action "
        "(report, delete) and conditions by keyword, such as Modality.",
    )
    purge_days: int = _setting(
        COUNT,
        90,
        "storage",
        "Days for which what was deleted can be brought back; then it goes for good, its bytes too. 0 for never.",
        unit="days",
    )

    s3_url: str = _setting(
        TEXT,
        "",
        "object store",
        "Keep contents in a bucket (s3://bucket/prefix); empty means packs in the home folder. Origins only.",
    )
    s3_endpoint: str = _setting(
        URL, "", "object store", "URL of the S3 server; empty for the one that the region says."
    )
    s3_region: str = _setting(TEXT, "", "object store", "Region; empty for what the standard AWS configuration says.")
    s3_path_style: bool = _setting(
        FLAG, False, "object store", "Name the bucket in the path rather than in the host: most servers of one's own."
    )
    s3_ca: Path | None = _setting(
        OPTIONAL_PATH, None, "object store", "Certificates (PEM) that the S3 server's is checked against."
    )
    s3_timeout_s: float = _setting(
        NUMBER, 20.0, "object store", "Longest wait for a byte of an answer; a request is tried four times.", unit="s"
    )
    s3_connections: int = _setting(COUNT, 16, "object store", "Connections to the S3 server at the same time.")
    s3_object_bytes: int = _setting(
        SIZE,
        16 * MIB,
        "object store",
        "Size at which an object is full; about ten times as much memory is used while many send.",
        unit="bytes",
    )
    s3_cache_bytes: int = _setting(
        SIZE,
        8 * GIB,
        "object store",
        "Local disk for what was read and written lately, sealed; 0 to ask the bucket each time.",
        unit="bytes",
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
    max_rejected_parts: int = _setting(
        COUNT, 1000, "limits", "Most parts of one store request that are no object to be stored; then it ends."
    )
    max_parse_seconds: float = _setting(NUMBER, 30.0, "limits", "Longest time spent parsing one object.", unit="s")

    ingest_threads: int = _setting(COUNT, 2, "work", "Objects parsed and stored at the same time.")
    ingest_memory_bytes: int = _setting(
        SIZE, 64 * MIB, "work", "Memory that objects being taken in may use together.", unit="bytes"
    )
    spool_memory_threshold: int = _setting(
        SIZE, 4 * MIB, "work", "Size above which an object being received goes to disk.", unit="bytes"
    )
    codec_threads: int = _setting(COUNT, 2, "work", "Frames decoded or encoded at the same time.")
    renditions: bool = _setting(FLAG, True, "work", "Make HTJ2K renditions in the background.")
    recipes: bool = _setting(
        FLAG,
        True,
        "work",
        "Send frames to other nodes, and ask for them, as recipes where that is fewer bytes and the line is what takes "
        "the time.",
    )
    perceptual: bool = _setting(
        FLAG, True, "work", "Compute perceptual hashes in the background; at an edge, take over those of the upstream."
    )

    search_limit: int = _setting(COUNT, 1000, "search", "Most results of one search; more are announced by Warning.")
    frame_cache_bytes: int = _setting(
        SIZE, 64 * MIB, "caches", "Memory for frames made on request (transcoded, rendered).", unit="bytes"
    )
    frame_memory_bytes: int = _setting(
        SIZE,
        512 * MIB,
        "caches",
        "Memory for stored frames that are read repeatedly, held opened as they are sent; 0 to open them each time.",
        unit="bytes",
    )
    metadata_cache_bytes: int = _setting(
        SIZE, 32 * MIB, "caches", "Memory for prepared metadata answers.", unit="bytes"
    )
    record_cache_entries: int = _setting(COUNT, 20_000, "caches", "Catalogue records kept in memory.")

    #: The file, variable or option that each given setting comes from; no setting itself.
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Name where the tables of a setting come from in what is said of them."""
        try:
            yield
        except ConfigurationError as error:
            source = self.sources.get(name)
            raise ConfigurationError(f"{source}: {error}" if source else str(error)) from error

    @property
    def tls(self) -> bool:
        """True if the node speaks TLS."""
        return self.tls_cert is not None

    @property
    def is_before_archive(self) -> bool:
        """True if an edge's upstream is none of ours."""
        return self.upstream_kind == "dicomweb" or self.dicom_upstream is not None

    @property
    def dicom_upstream(self) -> str | None:
        """The upstream that speaks DICOM's own protocol, without the scheme; None if none does."""
        found = [url for url in self.upstream if url.startswith(DICOM_SCHEME)]
        return unquote(found[0].removeprefix(DICOM_SCHEME)) if found else None

    @property
    def kept_free_bytes(self) -> int:
        """Disk space that nothing taken in may use."""
        return max(self.disk_reserve_bytes, WORKING_BYTES)


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(name=one.name, default=one.default, **one.metadata) for one in fields(Settings) if one.metadata
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
    sources: dict[str, str] = {}
    for name, raw, place in _given(file, environment, arguments or {}):
        values[name] = _read(_BY_NAME[name], raw, str(place))
        sources[name] = place.source
    settings = Settings(**values, sources=sources)  # type: ignore[arg-type]  # each value was read by its own kind
    _check_together(settings)
    return settings


class _Place(NamedTuple):
    """Where a value was given; lines are those of a file."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}, line {self.line}"


def _given(
    file: Path | None, environment: Mapping[str, str], arguments: Mapping[str, object]
) -> Iterator[tuple[str, object, _Place]]:
    """Yield ``(name, raw value, place)``, weakest source first."""
    path = _settings_file(file, environment)
    if path is not None:
        yield from _from_file(path)
    yield from _from_environment(environment)
    for name, raw in arguments.items():
        if raw is not None:
            yield name, raw, _Place(_BY_NAME[name].option)


def _settings_file(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    if file is not None:
        return file
    if named := environment.get(ENV_PREFIX + "CONFIG"):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _from_file(path: Path) -> Iterator[tuple[str, object, _Place]]:
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; correct --config or NEARFRAME_CONFIG") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    for name, raw in table.items():
        place = _Place(str(path), _line_of(name, text))
        if name not in _BY_NAME:
            raise ConfigurationError(f"{place}: no setting is called {name}{_did_you_mean(name)}")
        yield name, raw, place


def _line_of(name: str, text: str) -> int:
    # tomllib keeps no positions; a key of a flat table starts its line.
    found = re.search(rf"^\s*[\"']?\[{{0,2}}{re.escape(name)}\b", text, re.MULTILINE)
    return text.count("\n", 0, found.end()) + 1 if found else 1


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, object, _Place]]:
    for variable in sorted(environment):
        # NEARFRAME_TEST_* steer the project's own tests.
        if not variable.startswith(ENV_PREFIX) or variable.startswith((ENV_PREFIX + "CONFIG", ENV_PREFIX + "TEST_")):
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        if name not in _BY_NAME:
            raise ConfigurationError(f"{variable}: no setting is called {name}{_did_you_mean(name)}")
        yield name, environment[variable], _Place(variable)


def _did_you_mean(name: str) -> str:
    close = difflib.get_close_matches(name, _BY_NAME, n=1)
    return f"; did you mean {close[0]}?" if close else "; docs/reference/settings.md lists them"


def _read(setting: Setting, raw: object, place: str) -> object:
    try:
        return setting.kind.read(raw)
    except (ValueError, TypeError) as error:
        one = raw[0] if isinstance(raw, list) and len(raw) == 1 else raw  # an option that may be repeated, and was not
        shown = "" if setting.secret else f" {one!r}"
        raise ConfigurationError(f"{place}: {setting.name} cannot be{shown}: {error}") from error


def _check_together(settings: Settings) -> None:
    for cert, key in (("tls_cert", "tls_key"), ("dicom_tls_cert", "dicom_tls_key"), ("hl7_tls_cert", "hl7_tls_key")):
        given = [name for name in (cert, key) if getattr(settings, name) is not None]
        if len(given) == 1:
            missing = key if given == [cert] else cert
            raise ConfigurationError(
                f"{given[0]} is set and {missing} is not; TLS needs both (nearframe tls dev makes them)"
            )
    for service in ("dicom", "hl7"):
        listens, authority, own = (getattr(settings, f"{service}{part}") for part in ("", "_tls_ca", "_tls_cert"))
        if listens and authority and not own:
            raise ConfigurationError(
                f"{service}_tls_ca is set and {service}_tls_cert is not: without a certificate of its own the node "
                "speaks no TLS, and sees none of its callers'"
            )
    if settings.chunk_bytes == 0 or settings.segment_bytes < settings.chunk_bytes:
        raise ConfigurationError("segment_bytes must be at least chunk_bytes, and chunk_bytes above 0")
