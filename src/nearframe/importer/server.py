"""A DICOMweb server by its URL."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from nearframe import __version__
from nearframe.errors import ConfigurationError

#: Names the tenant of a request to a nearframe node; other servers ignore it.
TENANT_HEADER: Final = "Nearframe-Tenant"

_TIMEOUT: Final = httpx.Timeout(connect=10, read=600, write=120, pool=30)  # an answer may follow gigabytes of fsync


def http_client(tenant: str, connections: int, ca_cert: Path | None) -> httpx.Client:
    """Return a client of one server.

    Parameters
    ----------
    tenant
        Of a nearframe node; empty for its own.
    ca_cert
        Certificates (PEM) to trust instead of the system's.

    Raises
    ------
    ConfigurationError
        If these cannot be read.
    """
    headers = {"User-Agent": f"nearframe-import/{__version__}"}
    if tenant:
        headers[TENANT_HEADER] = tenant
    try:
        verify = str(ca_cert) if ca_cert else True
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        return httpx.Client(timeout=_TIMEOUT, headers=headers, limits=limits, verify=verify, trust_env=False)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--ca-cert cannot be used: {error}") from error


def service_url(url: str, option: str) -> str:
    """Return the DICOMweb service of a server's URL, which `option` gives.

    Raises
    ------
    ConfigurationError
        If it is no URL of a server.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{option} wants the URL of a server, for example http://127.0.0.1:8042")
    return url.rstrip("/") + ("" if parts.path.strip("/") else "/dicomweb")
