"""The servers we measure ourselves against, started on loopback with ephemeral ports and stopped again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ORTHANC_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its process and where its DICOMweb (or its files) begin."""

    name: str
    pid: int
    url: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server runs.

    Attributes
    ----------
    host
        Address it listens on.
    enter
        Words before a command that make it run there.
    """

    host: str
    enter: tuple[str, ...] = ()


HERE: Final = Place("127.0.0.1")


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return once `url` answers anything over HTTP; raise if the process ends before."""
    import ssl

    lenient = ssl.create_default_context()
    lenient.check_hostname = False
    lenient.verify_mode = ssl.CERT_NONE
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError):
            try:
                urllib.request.urlopen(url, timeout=2, context=lenient).close()  # noqa: S310 - loopback
            except urllib.error.HTTPError:
                return
            return
        time.sleep(0.05)
    raise RuntimeError(f"{url} did not answer within {START_SECONDS:g} s")


def environment() -> dict[str, str]:
    """Return our environment, with Python's byte code kept: an installed program has it."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir(), "nearframe-bench-bytecode"))}


@contextlib.contextmanager
def running(command: Sequence[str], url: str, log: Path, env: dict[str, str] | None = None) -> Iterator[int]:
    """Run a server until the block ends."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**environment(), **(env or {})}, start_new_session=True
        )
    try:
        wait_until_answers(url, process)
        yield process.pid
    except Exception as error:
        error.add_note(f"{command[0]} ends its log with:\n" + _end_of(log))
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:])


def has_orthanc() -> bool:
    """Return whether Orthanc and its DICOMweb plugin are installed."""
    return shutil.which("Orthanc") is not None and ORTHANC_PLUGIN.exists()


@contextlib.contextmanager
def orthanc(
    home: Path,
    *,
    place: Place = HERE,
    port: int | None = None,
    dicom_port: int | None = None,
    env: dict[str, str] | None = None,
    settings: Mapping[str, object] | None = None,
) -> Iterator[Server]:
    """Orthanc with its DICOMweb plugin, tuned: no compression, keep-alive, large cache, no file access on find.

    Parameters
    ----------
    settings
        Of Orthanc's own, in place of these.
    """
    home.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    configuration = {
        "Name": "peer",
        "StorageDirectory": str(home / "db"),
        "IndexDirectory": str(home / "db"),
        "HttpPort": port,
        "RemoteAccessAllowed": place is not HERE,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": dicom_port is not None,
        "DicomPort": dicom_port or 4242,
        "DicomAlwaysAllowStore": True,
        "HttpThreadsCount": 50,
        "KeepAlive": True,
        "TcpNoDelay": True,
        "StorageCompression": False,
        "HttpCompressionEnabled": False,
        "SaveJobs": False,
        "OverwriteInstances": True,
        "StorageAccessOnFind": "Never",
        "MaximumStorageCacheSize": 512,
        "Plugins": [str(ORTHANC_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **(settings or {}),
    }
    path = home / "orthanc.json"
    path.write_text(json.dumps(configuration))
    root = f"http://{place.host}:{port}"
    with running([*place.enter, "Orthanc", str(path)], f"{root}/system", home / "log", env) as pid:
        yield Server("Orthanc", pid, f"{root}/dicom-web")


@contextlib.contextmanager
def origin(
    home: Path, *, tls: tuple[Path, Path] | None = None, options: Sequence[str] = (), place: Place = HERE
) -> Iterator[Server]:
    """Our origin as a user starts it."""
    with _node("origin", home, tls, options, place) as server:
        yield server


@contextlib.contextmanager
def edge(
    home: Path, upstream: Server, *, tls: tuple[Path, Path] | None = None, options: Sequence[str] = ()
) -> Iterator[Server]:
    """Our edge as a user starts it, in front of an origin of ours."""
    more = ["--upstream", upstream.url.removesuffix("/dicomweb"), *options]
    if upstream.url.startswith("https"):
        assert tls is not None
        more += ["--upstream-ca", str(tls[0])]
    with _node("edge", home, tls, more, HERE) as server:
        yield server


@contextlib.contextmanager
def _node(
    role: str, home: Path, tls: tuple[Path, Path] | None, options: Sequence[str], place: Place
) -> Iterator[Server]:
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [*place.enter, sys.executable, "-m", "nearframe", role, "--home", str(home / "home"), "--insecure"]
    command += ["--http", f"{place.host}:{port}", *options]
    if tls:
        command += ["--tls-cert", str(tls[0]), "--tls-key", str(tls[1])]
    root = f"{'https' if tls else 'http'}://{place.host}:{port}"
    with running(command, f"{root}/healthz", home / "log") as pid:
        yield Server("nearframe" if role == "origin" else role, pid, f"{root}/dicomweb")


def self_signed(folder: Path, *more_addresses: str) -> tuple[Path, Path]:
    """Make a P-256 certificate for 127.0.0.1, and for more addresses, with the openssl command."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    names = ",".join(f"IP:{address}" for address in ("127.0.0.1", *more_addresses))
    subject = ["-subj", "/CN=127.0.0.1", "-addext", f"subjectAltName={names}"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command = ["openssl", "req", "-x509", *curve, *subject, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
