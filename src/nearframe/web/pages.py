"""Pages for people: the study page, that of an archive, their assets, and the viewer if it is installed."""

from __future__ import annotations

import hashlib
import html
import mimetypes
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from nearframe import __version__
from nearframe.errors import NotFound
from nearframe.units import GIB
from nearframe.web import viewer

mimetypes.add_type("application/wasm", ".wasm")
mimetypes.add_type("text/javascript", ".js")
mimetypes.add_type("text/javascript", ".mjs")

_ASSETS = (
    *("page.js", "node.js", "study.js", "corrections.js", "upload.js", "values.js", "why.js"),
    *("archive.js", "conflicts.js", "holds.js", "patients.js", "record.js", "retention.js"),
    *("page.css", "archive.css", "mark.svg"),
)
_WORKER = ("worker.js", "documents.js", "frames.js", "nodes.js", "payload.js", "studies.js", "tables.js", "register.js")
_HASHED = re.compile(r"\.[0-9a-f]{16}\.")  # a bundle's name holds the hash of its content
_FOREVER = "public, max-age=31536000, immutable"
#: The page runs our own scripts only; pictures come from this node.
_POLICY = "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; frame-ancestors 'none'; base-uri 'none'"


class Pages:
    """The pages of one node.

    Parameters
    ----------
    role
        ``"origin"`` or ``"edge"``: shown in the page's head.
    viewer_folder
        Where the viewer lies, or None: then the page says how to get it.
    browser_cache, browser_cache_bytes
        What browsers keep: see the settings of these names.
    """

    def __init__(
        self,
        role: str,
        viewer_folder: Path | None,
        browser_cache: str = "persistent",
        browser_cache_bytes: int = 8 * GIB,
    ) -> None:
        self._role = role
        self._viewer = viewer_folder
        self._browser_cache = browser_cache
        self._browser_cache_bytes = browser_cache_bytes
        self._worker = {name: _asset(f"worker/{name}") for name in _WORKER}
        self._assets = {name: _asset(name) for name in _ASSETS}
        # One for all: a script names the others beside it.
        self._stamp = hashlib.sha256(b"".join(self._assets.values())).hexdigest()[:16]

    def routes(self) -> Iterable[BaseRoute]:
        """Return the routes, to be mounted last: the viewer takes every path below its own."""
        yield Route("/", self._studies)
        if self._role == "origin":
            yield Route("/archive", self._archive)
        yield Route("/assets/{stamp}/{name}", self._serve_asset)
        yield Route("/worker/{name}", self._serve_worker)
        yield Route(viewer.MOUNT + "init-service-worker.js", self._start_worker)
        yield Route(viewer.MOUNT + "{path:path}", self._serve_viewer)

    async def _studies(self, request: Request) -> Response:
        return self._page("page.html")

    async def _archive(self, request: Request) -> Response:
        return self._page("archive.html")

    def _page(self, name: str) -> Response:
        text = _asset(name).decode()
        values = {
            "role": self._role,
            "version": __version__,
            "viewer": viewer.MOUNT if self._viewer else "",
            "browser_cache": self._browser_cache,
            "browser_cache_bytes": str(self._browser_cache_bytes),
            "assets": f"/assets/{self._stamp}",
        }
        for key, value in values.items():
            text = text.replace("{{" + key + "}}", html.escape(value))
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(text, media_type="text/html", headers=headers)

    async def _serve_asset(self, request: Request) -> Response:
        stamp, name = request.path_params["stamp"], request.path_params["name"]
        body = self._assets.get(name)
        if body is None or stamp != self._stamp:
            raise NotFound("asset")
        headers = {"Cache-Control": _FOREVER, "X-Content-Type-Options": "nosniff"}
        return Response(body, media_type=mimetypes.guess_type(name)[0], headers=headers)

    async def _serve_worker(self, request: Request) -> Response:
        body = self._worker.get(request.path_params["name"])
        if body is None:
            raise NotFound("part of the service worker")
        # Browsers compare it whenever a page is opened: a worker that lags behind its node would be hard to explain.
        headers = {"Cache-Control": "no-cache", "Service-Worker-Allowed": "/", "X-Content-Type-Options": "nosniff"}
        return Response(body, media_type="text/javascript", headers=headers)

    async def _start_worker(self, request: Request) -> Response:
        """Answer in place of the viewer's own script, which would unregister every worker of this node."""
        script = (
            'import { useWorker } from "/worker/register.js";\n'
            f'useWorker("{self._browser_cache}", {self._browser_cache_bytes})'
            '.catch((error) => console.warn("no service worker:", error));\n'
        )
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        return Response(script, media_type="text/javascript", headers=headers)

    async def _serve_viewer(self, request: Request) -> Response:
        if self._viewer is None:
            raise NotFound("viewer here: install it with `nearframe viewer install`")
        accepts_gzip = "gzip" in request.headers.get("accept-encoding", "")
        return await anyio.to_thread.run_sync(_viewer_file, self._viewer, request.path_params["path"], accepts_gzip)


def _viewer_file(folder: Path, path: str, accepts_gzip: bool) -> Response:
    """Answer with a file of the viewer; a path without a suffix is one of its own routes."""
    wanted = path if Path(path).suffix else "index.html"
    target = (folder / wanted).resolve()
    if not target.is_relative_to(folder.resolve()) or not target.is_file():
        raise NotFound("file of the viewer")
    headers = {
        "Cache-Control": _FOREVER if _HASHED.search(target.name) or target.suffix == ".wasm" else "no-cache",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    packed = target.with_name(target.name + ".gz")
    media_type = mimetypes.guess_type(target.name)[0] or "application/octet-stream"
    if accepts_gzip and packed.is_file():
        return FileResponse(packed, media_type=media_type, headers={**headers, "Content-Encoding": "gzip"})
    return FileResponse(target, media_type=media_type, headers=headers)


def _asset(name: str) -> bytes:
    return resources.files("nearframe.web").joinpath("static", name).read_bytes()
