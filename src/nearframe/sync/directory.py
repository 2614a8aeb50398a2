"""Which nodes a client may ask: what is configured, what announced itself, what the upstreams know.

An entry of the settings is kept for good; an edge that announced itself is forgotten when it
does not do so again; what an upstream told is kept until it tells something else, since a
list that is old is what a client needs when that upstream is away.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from nearframe.clock import Clock
from nearframe.errors import Busy, ConfigurationError, MalformedRequest
from nearframe.settingkinds import NETWORKS, NODE_NAME, Kind

T = TypeVar("T")
Role: TypeAlias = Literal["edge", "origin"]

#: An edge announces itself this often, and is forgotten after three times in vain.
ANNOUNCED_EVERY_S: Final = 20.0
_ANNOUNCED_FOR_S: Final = 3 * ANNOUNCED_EVERY_S
MAX_ANNOUNCED: Final = 256  # a hospital group has dozens; what announces more is no edge
_MAX_NETWORKS: Final = 64
_MAX_URL_CHARS: Final = 1024
_MAX_RANK: Final = 1000
_URL: Final = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(?:/[A-Za-z0-9._~/-]*)?")
_MEMBERS: Final = frozenset({"name", "url", "networks", "rank", "role"})


@dataclass(frozen=True, slots=True)
class Listed:
    """A node that clients may ask.

    Attributes
    ----------
    url
        Its base URL, without a slash at the end.
    networks
        Those whose clients are nearest to it.
    rank
        The lower, the sooner it is asked, by clients of other networks.
    """

    name: str
    url: str
    networks: tuple[str, ...] = ()
    rank: int = 0
    role: Role = "edge"

    @property
    def web_origin(self) -> str:
        """What a browser calls the origin of its pages."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def is_near(self, address: str) -> bool:
        """Return whether a client's address is in one of its networks."""
        try:
            client = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(client in ipaddress.ip_network(network) for network in self.networks)

    def as_json(self) -> dict[str, Any]:
        """Return it as nodes tell each other."""
        return {
            "name": self.name,
            "url": self.url,
            "networks": list(self.networks),
            "rank": self.rank,
            "role": self.role,
        }


def read_listed(document: object) -> Listed:
    """Read an entry as `Listed.as_json` writes it, or as the settings have it.

    Raises
    ------
    MalformedRequest
        Naming the member that cannot be read.
    """
    if not isinstance(document, Mapping):
        raise MalformedRequest("a node of the list is an object")
    if unknown := document.keys() - _MEMBERS:
        raise MalformedRequest(f"a node of the list has no {sorted(map(str, unknown))[0]}")
    url = document.get("url")
    if url is None:
        raise MalformedRequest("url: a node of the list needs one")
    if not isinstance(url, str) or len(url) > _MAX_URL_CHARS or not _URL.fullmatch(url):
        raise MalformedRequest("url: an http:// or https:// URL without query")
    rank = document.get("rank", 0)
    if isinstance(rank, bool) or not isinstance(rank, int) or not 0 <= rank <= _MAX_RANK:
        raise MalformedRequest(f"rank: a whole number up to {_MAX_RANK}")
    role = document.get("role", "edge")
    if role not in ("edge", "origin"):
        raise MalformedRequest("role: edge or origin")
    name = _read(NODE_NAME, "name", document.get("name"))
    networks = _read(NETWORKS, "networks", document.get("networks", ()))
    if not name or len(networks) > _MAX_NETWORKS:
        raise MalformedRequest(f"a node of the list has a name, and at most {_MAX_NETWORKS} networks")
    return Listed(name, url.rstrip("/"), networks, rank, role)


def _read(kind: Kind[T], member: str, value: object) -> T:
    try:
        return kind.read(value)
    except (TypeError, ValueError) as error:
        raise MalformedRequest(f"{member}: {error}") from error


def configured(tables: Iterable[Mapping[str, object]]) -> list[Listed]:
    """Read the ``[[edges]]`` of the settings."""
    found = []
    for number, table in enumerate(tables, start=1):
        try:
            found.append(read_listed(table))
        except MalformedRequest as error:
            raise ConfigurationError(f"[[edges]], table {number}: {error}") from error
    return found


class Directory:
    """The nodes that one node knows of. For one event loop."""

    def __init__(self, configured: Sequence[Listed], clock: Clock) -> None:
        self._configured = configured
        self._clock = clock
        #: By URL: an edge, and when it is forgotten.
        self._announced: dict[str, tuple[Listed, float]] = {}
        #: By upstream.
        self._told: dict[str, list[Listed]] = {}

    def announced(self, node: Listed) -> None:
        """Keep an edge that announced itself, for a while.

        Raises
        ------
        Busy
            If too many have.
        """
        self._forget()
        if node.url not in self._announced and len(self._announced) >= MAX_ANNOUNCED:
            raise Busy(f"{MAX_ANNOUNCED} edges are announced here already")
        self._announced[node.url] = node, self._clock.monotonic() + _ANNOUNCED_FOR_S

    def told(self, upstream: str, nodes: Sequence[Listed]) -> None:
        """Keep what an upstream knows, in place of what it told before."""
        self._told[upstream] = list(nodes)

    def known(self, besides: Listed | None = None) -> list[Listed]:
        """Return every node once, without the one that asks or answers; a word of our own settings wins."""
        self._forget()
        found: dict[str, Listed] = {}
        for node in self._all():
            found.setdefault(node.url, node)
        if besides is not None:
            found = {url: node for url, node in found.items() if url != besides.url and node.name != besides.name}
        return list(found.values())

    def web_origins(self) -> frozenset[str]:
        """Return the origins of the pages of these nodes."""
        return frozenset(node.web_origin for node in self.known())

    def _all(self) -> Iterator[Listed]:
        yield from self._configured
        yield from (node for node, _ in self._announced.values())
        for nodes in self._told.values():
            yield from nodes

    def _forget(self) -> None:
        now = self._clock.monotonic()
        for url in [url for url, (_, until) in self._announced.items() if until <= now]:
            del self._announced[url]


def ranked(nodes: Iterable[Listed], address: str) -> list[Listed]:
    """Return nodes in the order in which a client with an address is to ask them.

    Those of its own network first, then by rank; archives last, whose line is long.
    """
    return sorted(
        nodes, key=lambda node: (node.role == "origin", not node.is_near(address), node.rank, node.name, node.url)
    )
