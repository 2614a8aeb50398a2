"""Which archive answers at a URL: one that was wiped, or restored, is another one.

A nearframe node names the epoch of its change feed in its status, and an edge, which
passes stores on, its upstream's besides. Other servers name nothing of the kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import httpx

from nearframe.importer.patience import NotNow, Patience, busy, unreachable
from nearframe.storage.ports import FeedCursor

_SERVICE: Final = "/dicomweb"  # of our own nodes; the API is beside it
_STATUS: Final = "/api/status"


def archive_identity(client: httpx.Client, service_url: str, patience: Patience) -> str:
    """Return what tells this archive from an earlier one at the same URL, empty if it does not tell.

    Raises
    ------
    UpstreamUnavailable
        If the server stayed away or busy.
    """
    root = service_url.removesuffix(_SERVICE)
    if root == service_url:
        return ""

    def question() -> httpx.Response | NotNow:
        try:
            reply = client.get(root + _STATUS)
        except httpx.TransportError as error:
            return unreachable(error)
        return busy(reply) or reply

    return _epochs(patience.ask(question))


def _epochs(reply: httpx.Response) -> str:
    try:
        status = reply.json() if reply.is_success else None
    except ValueError:
        return ""
    heads = [_value(status, "feed", "head"), _value(status, "upstream", "cursor")]
    return " ".join(_epoch(head) for head in heads if isinstance(head, str))


def _value(status: object, *names: str) -> object:
    for name in names:
        status = status.get(name) if isinstance(status, Mapping) else None
    return status


def _epoch(head: str) -> str:
    try:
        return FeedCursor.parse(head).epoch
    except ValueError:
        return ""
