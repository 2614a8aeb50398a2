"""Debian's nginx, tuned, with one worker: ours is one process too, and what counts is CPU per request."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.peers import HERE, Place, Server, free_port, running


@contextlib.contextmanager
def nginx_files(home: Path, files: Path, tls: tuple[Path, Path] | None = None) -> Iterator[Server]:
    """nginx serving `files` as they lie on disk: sendfile, open file cache."""
    with nginx(home, "nginx", f"root {files};", "default_type application/octet-stream;", tls) as server:
        yield server


@contextlib.contextmanager
def nginx(
    home: Path, name: str, what: str, shared: str = "", tls: tuple[Path, Path] | None = None, place: Place = HERE
) -> Iterator[Server]:
    """nginx as configured.

    Parameters
    ----------
    what, shared
        Directives of the one server, and of all HTTP.
    """
    for folder in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    port = free_port()
    listen = f"{place.host}:{port}" + (" ssl http2" if tls else "")
    security = (
        f"ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]}; ssl_protocols TLSv1.3; ssl_session_cache shared:s:4m;"
        if tls
        else ""
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (home / "nginx.conf").write_text(
        f"""{user} worker_processes 1; daemon off; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000000; keepalive_timeout 75;
  open_file_cache max=250000 inactive=600s; open_file_cache_valid 600s;
  {shared}
  server {{ listen {listen}; {security} http2_max_concurrent_streams 128; {what} }}
}}
"""
    )
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    root = f"{'https' if tls else 'http'}://{place.host}:{port}"
    command = [*place.enter, binary, "-p", str(home), "-c", str(home / "nginx.conf")]
    with running(command, f"{root}/", home / "log") as pid:
        yield Server(name, pid, root)
