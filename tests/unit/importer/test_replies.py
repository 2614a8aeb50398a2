"""Reasons that a server gives, and none."""

from __future__ import annotations

import httpx
import pytest

from nearframe.importer.patience import busy
from nearframe.importer.replies import detail_of


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"title": "Service Unavailable", "detail": "the upstream is away"}', ": the upstream is away"),
        (b'{"title": "Service Unavailable"}', ": Service Unavailable"),
        (b'{"detail": 3}', ""),
        (b"[]", ""),
        (b"<html>", ""),
        (b"", ""),
    ],
)
def test_detail(body: bytes, said: str) -> None:
    assert detail_of(httpx.Response(503, content=body)) == said


def test_a_server_that_says_why_to_wait() -> None:
    later = busy(httpx.Response(503, json={"detail": "the upstream is away"}))
    assert later is not None
    assert later.problem == "the server is busy or away (HTTP 503): the upstream is away"
    assert busy(httpx.Response(200)) is None
