"""Under which URL a client reaches us: what every link we write starts with."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import HTTPConnection

from nearframe.config import Settings
from nearframe.ids import Identity
from nearframe.wire.forwarded import Forwarded, base_url, parse_forwarded

ROOT = "/dicomweb"


class Addresses:
    """Works out URLs for the clients of this node."""

    def __init__(self, settings: Settings) -> None:
        self._public = settings.public_base_url.rstrip("/")
        self._trusts_proxies = settings.trust_forwarded

    def service(self, request: HTTPConnection) -> str:
        """Return the URL of the DICOMweb root as this client sees it, without a slash at the end."""
        return self.base(request) + ROOT

    def base(self, request: HTTPConnection) -> str:
        """Return the URL of the node as this client sees it, without a slash at the end.

        The setting ``public_base_url`` decides; else a trusted proxy; else the Host header.
        """
        if self._public:
            return self._public
        forwarded = parse_forwarded(request.headers) if self._trusts_proxies else Forwarded()
        scope = request.scope
        return base_url(scope["scheme"], request.headers.get("host"), scope.get("server"), forwarded)


def is_dicomweb(path: str) -> bool:
    """Return whether the DICOMweb application answers a path; the rest of a node is beside it."""
    return path.startswith(ROOT) or path == "/openapi.json"


def resource(study: str, series: str | None = None, instance: str | None = None) -> str:
    """Return the path of a study, series or instance below the root; UIDs are quoted, some are no UIDs."""
    path = f"/studies/{quote(study, safe='')}"
    if series is not None:
        path += f"/series/{quote(series, safe='')}"
    if instance is not None:
        path += f"/instances/{quote(instance, safe='')}"
    return path


def instance_path(identity: Identity) -> str:
    """Return the path of an instance below the root."""
    return resource(identity.study_instance_uid, identity.series_instance_uid, identity.sop_instance_uid)
