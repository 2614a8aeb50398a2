"""Where a request came from as its client sees it: Forwarded (RFC 7239) and X-Forwarded-*."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nearframe.wire.mediatype import split_list, unquote

_HOST = re.compile(r"[A-Za-z0-9._-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What the nearest proxy says about the request it received; None where it says nothing."""

    scheme: str | None = None
    host: str | None = None
    prefix: str = ""


def parse_forwarded(headers: Mapping[str, str]) -> Forwarded:
    """Read the forwarding headers of one request; names in lower case.

    Only values that can stand in a URL are taken. The caller decides whether to trust them.
    """
    first = next(split_list(headers.get("forwarded", "")), "")
    pairs = dict(_pair(pair) for pair in split_list(first, ";"))
    scheme = pairs.get("proto") or _first(headers, "x-forwarded-proto")
    host = pairs.get("host") or _first(headers, "x-forwarded-host")
    prefix = _first(headers, "x-forwarded-prefix").rstrip("/")
    return Forwarded(
        scheme=scheme.lower() if scheme.lower() in _DEFAULT_PORTS else None,
        host=host if _HOST.fullmatch(host) else None,
        prefix=prefix if _PREFIX.fullmatch(prefix) else "",
    )


def base_url(scheme: str, host: str | None, server: tuple[str, int | None] | None, forwarded: Forwarded) -> str:
    """Return the URL of the server's root, without a slash at the end.

    Parameters
    ----------
    host
        The Host header. Without a port it gets the one we listen on: dicomweb-client sends
        ``Host: 127.0.0.1`` to every port. A proxy's own host is taken as it is.
    server
        Address and port the request arrived at.
    """
    scheme = forwarded.scheme or scheme
    if forwarded.host is not None:
        return f"{scheme}://{forwarded.host}{forwarded.prefix}"
    if host is None or _HOST.fullmatch(host) is None:
        host = server[0] if server else "localhost"
        host = f"[{host}]" if ":" in host else host
    port = server[1] if server else None
    if port not in (None, _DEFAULT_PORTS.get(scheme)) and re.search(r":\d+$", host) is None and not forwarded.scheme:
        host = f"{host}:{port}"
    return f"{scheme}://{host}{forwarded.prefix}"


def _first(headers: Mapping[str, str], name: str) -> str:
    return next(split_list(headers.get(name, "")), "")


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), unquote(value)
