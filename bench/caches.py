"""Caches of the shelf in front of an archive: Debian's nginx and Varnish, tuned for frames."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from bench.nginx import nginx
from bench.peers import HERE, Place, Server, free_port, running


@contextlib.contextmanager
def nginx_cache(
    home: Path, upstream: Server, tls: tuple[Path, Path] | None = None, fresh: str = "7d"
) -> Iterator[Server]:
    """nginx with ``proxy_cache``: kept connections to the upstream, one fetch at a time for a key.

    The header ``X-Cache`` of an answer says whether it was a hit.

    Parameters
    ----------
    fresh
        For how long an answer is shown without asking the upstream whether it still holds.
        As it comes for longer than a consultation, which nobody may do who needs
        corrections to show; with ``1s`` they show, for a round trip each.
    """
    (home / "cache").mkdir(parents=True, exist_ok=True)
    path = f"proxy_cache_path {home}/cache levels=1:2 keys_zone=frames:128m max_size=50g inactive=7d use_temp_path=off;"
    caching = f"""
      proxy_cache frames; proxy_cache_valid 200 {fresh}; proxy_cache_revalidate on;
      proxy_cache_key $request_uri$http_accept$http_accept_encoding;
      proxy_ignore_headers Cache-Control Expires Vary Set-Cookie;
      proxy_cache_lock on; proxy_cache_lock_timeout 60s; add_header X-Cache $upstream_cache_status;"""
    with _proxy(home, upstream, tls, HERE, path, caching) as server:
        yield server


@contextlib.contextmanager
def nginx_tls(home: Path, upstream: Server, tls: tuple[Path, Path], place: Place) -> Iterator[Server]:
    """nginx that gives a server TLS and keeps nothing: Debian's Orthanc ends with SIGSEGV when it does TLS itself."""
    home.mkdir(parents=True, exist_ok=True)
    # What browsers take compressed is sent so, as our own nodes do.
    more = """client_max_body_size 0; proxy_request_buffering off;
      gzip on; gzip_proxied any; gzip_types application/json application/dicom+json;"""
    with _proxy(home, upstream, tls, place, "", more) as server:
        yield server


@contextlib.contextmanager
def _proxy(
    home: Path, upstream: Server, tls: tuple[Path, Path] | None, place: Place, zone: str, more: str
) -> Iterator[Server]:
    parts = urlsplit(upstream.url)
    shared = f"{zone} upstream archive {{ server {parts.netloc}; keepalive 16; keepalive_requests 10000000; }}"
    what = f"""location / {{
      proxy_pass {parts.scheme}://archive; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host {parts.netloc}; proxy_ssl_session_reuse on; proxy_ssl_protocols TLSv1.3;
      proxy_buffers 16 64k; proxy_buffer_size 64k; {more}
    }}"""
    with nginx(home, "nginx proxy_cache", what, shared, tls, place) as server:
        yield replace(server, url=server.url + parts.path)


@contextlib.contextmanager
def varnish(home: Path, upstream: Server, megabytes: int = 1024) -> Iterator[Server]:
    """Varnish in plain HTTP, its defaults but for what it keeps: frames whatever the upstream says of them."""
    home.mkdir(parents=True, exist_ok=True)
    port, parts = free_port(), urlsplit(upstream.url)
    (home / "frames.vcl").write_text(
        f"""vcl 4.1;
backend archive {{ .host = "{parts.hostname}"; .port = "{parts.port}"; }}
sub vcl_hash {{ hash_data(req.url); hash_data(req.http.Accept); return (lookup); }}
sub vcl_backend_fetch {{ set bereq.http.Host = "{parts.netloc}"; }}
sub vcl_backend_response {{
  unset beresp.http.Vary; unset beresp.http.Cache-Control;
  if (beresp.status == 200) {{ set beresp.ttl = 7d; }}
}}
"""
    )
    # No jail: as another user it could not read its own folder, which is ours.
    command = [shutil.which("varnishd") or "/usr/sbin/varnishd", "-j", "none", "-F", "-n", str(home / "work")]
    command += ["-a", f"127.0.0.1:{port}", "-f", str(home / "frames.vcl"), "-s", f"malloc,{megabytes}m"]
    root = f"http://127.0.0.1:{port}"
    with running(command, f"{root}/", home / "log") as pid:
        yield Server("Varnish", pid, root + parts.path)
