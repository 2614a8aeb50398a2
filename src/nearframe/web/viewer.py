"""The OHIF viewer, prebuilt: unpacked once from its npm archive, then served as static files.

The archive is pinned by version and SHA-256. Three things change on the way in: the
viewer moves from ``/`` to ``/viewer/``; its service-worker script, which would unregister
every worker of this origin and load code from elsewhere, becomes empty (a node serves its
own in that place); and its
configuration, which names a public server, becomes ours. Its 136 MB of segmentation
models are left out: no page of the viewer asks for them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from nearframe.errors import ConfigurationError, IntegrityError

OHIF_PACKAGE = "@ohif/app"
OHIF_VERSION = "3.13.2"
OHIF_SHA256 = "b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1"
MOUNT = "/viewer/"

_LEFT_OUT = ("ort",)
_COMPRESSED = {".js", ".css", ".html", ".json", ".svg", ".wasm"}
#: Written by bundlers with and without blanks; each is the public path of the application.
_ROOT_PATHS = (
    (b'window.PUBLIC_URL="/"', b'window.PUBLIC_URL="/viewer/"'),
    (b'__webpack_require__.p = "/"', b'__webpack_require__.p = "/viewer/"'),
    (b'__webpack_require__.p="/"', b'__webpack_require__.p="/viewer/"'),
    (b"'/dicom-microscopy-viewer/", b"'/viewer/dicom-microscopy-viewer/"),  # a script loaded by its own address
)
_MARKUP_PATHS = ((b'href="/', b'href="/viewer/'), (b'src="/', b'src="/viewer/'), (b'content="/', b'content="/viewer/'))

CONFIGURATION = {
    "name": "nearframe",
    "routerBasename": "/viewer",
    "extensions": [],
    "modes": [],
    "customizationService": {},
    "showStudyList": True,
    "maxNumberOfWebWorkers": 3,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": True,
    "strictZSpacingForVolumeViewport": True,
    "investigationalUseDialog": {"option": "always"},
    "maxNumRequests": {"interaction": 100, "thumbnail": 10, "prefetch": 25},
    "studyPrefetcher": {"enabled": True, "displaySetsCount": 2, "maxNumPrefetchRequests": 10, "order": "closest"},
    "defaultDataSourceName": "dicomweb",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "dicomweb",
            "configuration": {
                "friendlyName": "nearframe",
                "name": "nearframe",
                "wadoUriRoot": "/dicomweb/wado",
                "qidoRoot": "/dicomweb",
                "wadoRoot": "/dicomweb",
                "qidoSupportsIncludeField": True,
                "supportsReject": False,
                "supportsFuzzyMatching": True,
                "supportsWildcard": True,
                "supportsStow": True,
                "imageRendering": "wadors",
                "thumbnailRendering": "thumbnail",
                "thumbnailRequestStrategy": "fetch",
                "enableStudyLazyLoad": True,
                "omitQuotationForMultipartRequest": True,
                "bulkDataURI": {"enabled": True},
                "singlepart": "bulkdata,video,pdf",
            },
        }
    ],
}


def default_folder() -> Path:
    """Return where the viewer is kept for this user (XDG base directories)."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "nearframe" / f"ohif-{OHIF_VERSION}"


def installed(folder: Path | None = None) -> Path | None:
    """Return the folder that holds the viewer, or None."""
    place = folder or default_folder()
    try:
        return place if (place / "index.html").is_file() else None
    except PermissionError:  # the folder of another user, whose HOME this process was started with
        return None


def install(archive: Path, folder: Path | None = None, *, progress: Callable[[str], None] = lambda _: None) -> Path:
    """Unpack the viewer's npm archive into `folder`, which appears only once it is complete.

    Raises
    ------
    IntegrityError
        If the archive is not the pinned one.
    ConfigurationError
        If it cannot be read.
    """
    place = folder or default_folder()
    try:
        with archive.open("rb") as source:
            found = hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(f"the viewer's archive cannot be read: {error.strerror}") from error
    if found != OHIF_SHA256:
        raise IntegrityError(f"the archive is not {OHIF_PACKAGE} {OHIF_VERSION}: its SHA-256 is {found}")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        staged = Path(scratch) / "viewer"
        staged.mkdir()
        with tarfile.open(archive) as package:
            for member, path in _wanted(package):
                target = staged / path
                target.parent.mkdir(parents=True, exist_ok=True)
                source_file = package.extractfile(member)
                if source_file is not None:
                    _write(target, _adapted(path, source_file.read()))
                    progress(str(path))
        _write(staged / "app-config.js", f"window.config = {json.dumps(CONFIGURATION, indent=1)};\n".encode())
        _write(
            staged / "init-service-worker.js", b"// The node answers with a script of its own in place of this one.\n"
        )
        shutil.rmtree(place, ignore_errors=True)
        staged.rename(place)
    return place


def _wanted(package: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    for member in package:
        path = PurePosixPath(member.name)
        if not member.isfile() or path.parts[:2] not in {("package", "dist"), ("package", "LICENSE")}:
            continue
        inside = PurePosixPath(*path.parts[2:]) if path.parts[1] == "dist" else PurePosixPath("LICENSE")
        if ".." in inside.parts or inside.parts[0] in _LEFT_OUT or inside.suffix == ".map":
            continue
        yield member, inside


def _adapted(path: PurePosixPath, content: bytes) -> bytes:
    if path.suffix not in {".js", ".html", ".css", ".json"}:
        return content
    for old, new in _ROOT_PATHS:
        content = content.replace(old, new)
    if path.suffix == ".html":
        for old, new in _MARKUP_PATHS:
            content = content.replace(old, new)
    if path.suffix == ".css":
        content = content.replace(b"url(/", b"url(/viewer/")
    if path.name == "manifest.json":
        content = content.replace(b'"/assets/', b'"/viewer/assets/')
    return content


def _write(target: Path, content: bytes) -> None:
    target.write_bytes(content)
    if target.suffix in _COMPRESSED:
        target.with_name(target.name + ".gz").write_bytes(gzip.compress(content, 6, mtime=0))
