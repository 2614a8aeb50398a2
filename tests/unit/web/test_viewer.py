"""The viewer's archive: pinned, moved below /viewer/, complete or absent."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from nearframe.errors import IntegrityError
from nearframe.web import viewer

FILES = {
    "package/LICENSE": b"MIT",
    "package/package.json": b"{}",
    "package/dist/index.html": b'<script>window.PUBLIC_URL="/"</script><script src="/app.bundle.js"></script>',
    "package/dist/app.bundle.js": b"""__webpack_require__.p = "/";load('/dicom-microscopy-viewer/slides.js')""",
    "package/dist/app.bundle.css": b"src: url(/font.woff2)",
    "package/dist/app-config.js": b"window.config = 'a public server'",
    "package/dist/init-service-worker.js": b"navigator.serviceWorker.getRegistrations()",
    "package/dist/app.bundle.js.map": b"{}",
    "package/dist/ort/model.wasm": b"large",
    "package/dist/../../outside": b"never",
}


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "app.tgz"
    with tarfile.open(path, "w:gz") as package:
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(viewer, "OHIF_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_moves_the_viewer_below_its_mount(archive: Path, tmp_path: Path) -> None:
    folder = viewer.install(archive, tmp_path / "viewer")
    assert b'PUBLIC_URL="/viewer/"' in (folder / "index.html").read_bytes()
    assert b'src="/viewer/app.bundle.js"' in (folder / "index.html").read_bytes()
    script = (folder / "app.bundle.js").read_bytes()
    assert script == b"""__webpack_require__.p = "/viewer/";load('/viewer/dicom-microscopy-viewer/slides.js')"""
    assert (folder / "app.bundle.css").read_bytes() == b"src: url(/viewer/font.woff2)"
    assert gzip.decompress((folder / "app.bundle.js.gz").read_bytes()) == (folder / "app.bundle.js").read_bytes()


def test_replaces_configuration_and_worker_script(archive: Path, tmp_path: Path) -> None:
    folder = viewer.install(archive, tmp_path / "viewer")
    assert b'"wadoRoot": "/dicomweb"' in (folder / "app-config.js").read_bytes()
    assert b"serviceWorker" not in (folder / "init-service-worker.js").read_bytes()


def test_leaves_out_models_maps_and_paths_outside(archive: Path, tmp_path: Path) -> None:
    folder = viewer.install(archive, tmp_path / "viewer")
    names = {path.name for path in folder.rglob("*")}
    assert "model.wasm" not in names
    assert "app.bundle.js.map" not in names
    assert "LICENSE" in names
    assert not list(tmp_path.rglob("outside"))


def test_an_archive_that_is_not_the_pinned_one_is_refused(archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(IntegrityError, match="SHA-256"):
        viewer.install(archive, tmp_path / "viewer")
    assert viewer.installed(tmp_path / "viewer") is None


def test_a_second_install_replaces_the_first(archive: Path, tmp_path: Path) -> None:
    folder = viewer.install(archive, tmp_path / "viewer")
    (folder / "stale.js").write_bytes(b"")
    assert viewer.install(archive, tmp_path / "viewer") == folder
    assert not (folder / "stale.js").exists()
    assert viewer.installed(folder) == folder
