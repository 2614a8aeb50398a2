"""Which running node a command talks to."""

from __future__ import annotations

import argparse
import contextlib
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nearframe.cli._output import add_json_option
from nearframe.errors import ConfigurationError

if TYPE_CHECKING:
    import httpx

    from nearframe.cli._asking import Node

DEFAULT_URL = "http://127.0.0.1:8042"
TENANT_HEADER = "nearframe-tenant"


def asks_node(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    """Have a command ask a node: add the options that say which, and whether to answer in words or JSON."""
    add_node_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)


def add_node_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which node to ask, and how."""
    add_asked_node(parser)
    add_ca_cert(parser)


def add_ca_cert(parser: argparse.ArgumentParser) -> None:
    """Add the option that says whom to trust."""
    parser.add_argument("--ca-cert", type=Path, metavar="FILE", help="certificates to trust (PEM)")


def add_url(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which node to ask."""
    parser.add_argument("--url", default=DEFAULT_URL, metavar="URL", help=f"the node to ask (default: {DEFAULT_URL})")


def add_asked_node(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which node to ask, and about whom."""
    add_url(parser)
    parser.add_argument("--tenant", metavar="NAME", help="ask about this tenant instead of the node's own")


@contextlib.contextmanager
def node_of(options: argparse.Namespace) -> Iterator[Node]:
    """Open the node that the options name."""
    # The commands that look after an edge stand beside the one that runs it, which needs no HTTP client like this.
    from nearframe.cli._asking import Node

    with client_of(options) as client:
        yield Node(client)


def client_of(options: argparse.Namespace, url: str | None = None) -> httpx.Client:
    """Return a client of the node that the options name, or of another one on the same terms."""
    import httpx

    from nearframe.cli._asking import TIMEOUT

    headers = {TENANT_HEADER: options.tenant} if options.tenant else {}
    base_url = _base_url(url or options.url)
    return httpx.Client(base_url=base_url, headers=headers, verify=trust(options.ca_cert), timeout=TIMEOUT)


@contextlib.contextmanager
def edge_of(options: argparse.Namespace, *, before_any: bool = False) -> Iterator[Node]:
    """Open the node that the options name: an edge that follows one of ours, or `before_any` archive."""
    with node_of(options) as node:
        status = node.json("/api/status")
        if status.get("role") != "edge":
            raise ConfigurationError(f"{options.url} is no edge; --url names the node to ask")
        if "tiers" not in status and not before_any:
            raise ConfigurationError(
                f"{options.url} stands before another archive: such an edge has no classes and outbox"
            )
        yield node


def _base_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"--url {url}: expected http:// or https://")
    return url.rstrip("/").removesuffix("/dicomweb")  # a node says both when it starts


def trust(ca_cert: Path | None) -> ssl.SSLContext:
    """Return what trusts the system's authorities, or those of a file."""
    try:
        return ssl.create_default_context(cafile=os.fspath(ca_cert) if ca_cert else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"--ca-cert {ca_cert}: not readable as PEM certificates") from error
