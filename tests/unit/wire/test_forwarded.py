from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.wire.forwarded import Forwarded, base_url, parse_forwarded

READ = [
    ({}, Forwarded()),
    ({"forwarded": 'for=1.2.3.4;proto=https;host="pacs.example:8443"'}, Forwarded("https", "pacs.example:8443")),
    ({"forwarded": "host=outer.example;proto=https, host=inner;proto=http"}, Forwarded("https", "outer.example")),
    ({"x-forwarded-proto": "https, http", "x-forwarded-host": "a.example, b"}, Forwarded("https", "a.example")),
    ({"x-forwarded-prefix": "/imaging/", "x-forwarded-host": "[::1]:80"}, Forwarded(None, "[::1]:80", "/imaging")),
    ({"x-forwarded-proto": "javascript", "x-forwarded-host": 'a"><b', "x-forwarded-prefix": "//evil\r\n"}, Forwarded()),
]


@pytest.mark.parametrize(("headers", "expected"), READ)
def test_reads_what_proxies_say(headers: dict[str, str], expected: Forwarded) -> None:
    assert parse_forwarded(headers) == expected


URLS = [
    ("http", "pacs.example", ("10.0.0.1", 80), Forwarded(), "http://pacs.example"),
    ("http", "127.0.0.1", ("127.0.0.1", 8042), Forwarded(), "http://127.0.0.1:8042"),
    ("http", "127.0.0.1:9", ("127.0.0.1", 8042), Forwarded(), "http://127.0.0.1:9"),
    ("https", "pacs.example", ("10.0.0.1", 443), Forwarded(), "https://pacs.example"),
    ("https", "[::1]", ("::1", 8443), Forwarded(), "https://[::1]:8443"),
    ("http", None, ("::1", 8042), Forwarded(), "http://[::1]:8042"),
    ("http", None, None, Forwarded(), "http://localhost"),
    ("http", "inner", ("10.0.0.1", 8042), Forwarded("https", "pacs.example", "/x"), "https://pacs.example/x"),
    ("http", "pacs.example", ("10.0.0.1", 8042), Forwarded("https"), "https://pacs.example"),
    ("http", "a/b", ("10.0.0.1", 80), Forwarded(), "http://10.0.0.1"),
]


@pytest.mark.parametrize(("scheme", "host", "server", "forwarded", "expected"), URLS)
def test_base_urls(
    scheme: str, host: str | None, server: tuple[str, int | None] | None, forwarded: Forwarded, expected: str
) -> None:
    assert base_url(scheme, host, server, forwarded) == expected


@given(st.dictionaries(st.sampled_from(["forwarded", "x-forwarded-host", "x-forwarded-prefix"]), st.text(max_size=40)))
def test_nothing_that_breaks_a_url_gets_through(headers: dict[str, str]) -> None:
    url = base_url("http", "h", None, parse_forwarded(headers))
    assert not set(url) & set("\r\n \"'<>\\")
