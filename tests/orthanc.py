"""A real Orthanc with its DICOMweb plugin, in a folder of its own, gone afterwards."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_STARTS_WITHIN_S = 30


def is_installed() -> bool:
    return shutil.which("Orthanc") is not None and PLUGIN.exists()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.contextmanager
def running_orthanc(home: Path, port: int) -> Iterator[str]:
    """Start the server on what lies in `home`; yield the URL of its DICOMweb root."""
    home.mkdir(exist_ok=True)
    settings = {
        "Name": "test",
        "StorageDirectory": str(home / "db"),
        "IndexDirectory": str(home / "db"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "OverwriteInstances": True,
        "StorageCompression": False,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (home / "orthanc.json").write_text(json.dumps(settings))
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen(["Orthanc", home / "orthanc.json"], stdout=log, stderr=log) as server,
    ):
        try:
            _wait_for(f"http://127.0.0.1:{port}/system", server)
            yield f"http://127.0.0.1:{port}/dicom-web"
        finally:
            server.terminate()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < give_up_at:
        assert server.poll() is None, "Orthanc ended; its log says why"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False).is_success:
                return
        time.sleep(0.05)
    raise TimeoutError("Orthanc does not answer")
