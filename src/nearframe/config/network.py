"""Settings of the network: HTTP, TLS, other nodes, browsers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nearframe.config.declaring import setting
from nearframe.settingkinds import (
    ADDRESS,
    FLAG,
    LIST,
    NETWORKS,
    NODE_NAME,
    NUMBER,
    OPTIONAL_PATH,
    SIZE,
    TABLES,
    URL,
    Address,
    Tables,
    choice,
)
from nearframe.units import GIB


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """How a node is reached by HTTP, and what clients and browsers are told."""

    GROUP: ClassVar = "network"

    http: Address = setting(ADDRESS, Address("127.0.0.1", 8042), "Where to listen; port 0 takes a free one.")
    insecure: bool = setting(
        FLAG, False, "Accept that there is no access control yet. The node then listens on loopback only, always."
    )
    drain_s: float = setting(
        NUMBER,
        0.0,
        "How long a node that is told to stop still answers, while /ready says 503: for a balancer that asks there. "
        "Twice the time between two of its questions.",
        unit="s",
    )
    stop_grace_s: float = setting(
        NUMBER,
        10.0,
        "How long requests and associations under way may take to finish when the node stops; then they are cut.",
        unit="s",
    )
    tls_cert: Path | None = setting(OPTIONAL_PATH, None, "Certificate chain (PEM); turns TLS on.")
    tls_key: Path | None = setting(OPTIONAL_PATH, None, "Private key of the certificate (PEM).")
    public_base_url: str = setting(
        URL, "", "URL that clients use when it differs from what they send as Host, e.g. behind a proxy."
    )
    trust_forwarded: bool = setting(
        FLAG, False, "Believe Forwarded and X-Forwarded-* headers; only behind a proxy that sets them."
    )
    cors_origins: tuple[str, ...] = setting(LIST, (), "Web origins whose pages may read from this node; * for any.")
    name: str = setting(
        NODE_NAME, "", "What clients see this node called in the list of nodes; one is made up if it is empty."
    )
    networks: tuple[str, ...] = setting(
        NETWORKS, (), "Networks whose clients are nearest to this node, e.g. 10.1.0.0/16."
    )
    edges: Tables = setting(
        TABLES,
        (),
        "Nodes that clients are told of besides those that announce themselves: [[edges]] tables with name, url, "
        "networks, rank.",
    )
    dictionaries: bool = setting(
        FLAG,
        False,
        "Offer metadata of a named version to browsers as compression dictionary (RFC 9842) for the next one.",
    )
    browser_cache: str = setting(
        choice("off", "session", "persistent"),
        "persistent",
        "What browsers keep of the studies opened in them: nothing, until the last page of this node is closed, or "
        "until it is told to forget.",
    )
    browser_cache_bytes: int = setting(
        SIZE,
        8 * GIB,
        "Most bytes of studies kept in one browser, and at most half of what the browser allows.",
        unit="bytes",
    )

    @property
    def tls(self) -> bool:
        """True if the node speaks TLS."""
        return self.tls_cert is not None
