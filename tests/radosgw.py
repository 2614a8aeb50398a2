"""A real S3 server for the tests: Ceph's radosgw over one monitor and one store in memory, up in two seconds."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from nearframe.storage.s3 import S3Location, S3Options
from nearframe.storage.s3.client import S3Bucket
from tests.postgres import die_with_parent

PROGRAMS: Final = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
ACCESS_KEY: Final = "testkey"
SECRET_KEY: Final = "testsecret"
REGION: Final = "default"

_UP_WITHIN_S = 60
# A monitor gathers changes for a second before it agrees with the others on them: here there are none.
_CONF = """
[global]
fsid={fsid}
mon_host=v2:127.0.0.1:{mon_port}
public_network=127.0.0.0/8
ms_bind_ipv6=false
keyring={home}/keyring
osd_pool_default_size=1
osd_pool_default_min_size=1
mon_allow_pool_size_one=true
osd_crush_chooseleaf_type=0
osd_pool_default_pg_num=1
osd_pool_default_pgp_num=1
osd_pool_default_pg_autoscale_mode=off
mon_max_pg_per_osd=1000
paxos_propose_interval=0.02
paxos_min_wait=0.01
run_dir={home}
admin_socket={home}/$name.asok
pid_file={home}/$name.pid
log_file={home}/$name.log
[mon.a]
host=localhost
mon_data={home}/mon
[osd.0]
osd_data={home}/osd
osd_objectstore=memstore
memstore_device_bytes={capacity}
[client.rgw]
rgw_data={home}/rgw
rgw_frontends=beast endpoint=127.0.0.1:{port}
rgw_dns_name=localhost
rgw_run_sync_thread=false
"""
_CAPACITY_BYTES = 1 << 30


class Radosgw:
    """A running server; its credentials are `ACCESS_KEY` and `SECRET_KEY`, which clients find in the environment.

    Parameters
    ----------
    command
        Runs the gateway, which is all that clients speak to, and which keeps nothing.
    """

    def __init__(self, port: int, command: Sequence[str]) -> None:
        self.port = port
        self._command = command
        self._gateway: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the gateway. Not from a thread that ends: it would end with it."""
        self._gateway = _started(self._command)

    def wait_until_up(self) -> None:
        """Wait until it answers."""
        _wait_until_up(self.port)

    def kill(self) -> None:
        """End the gateway, whatever it is at."""
        if self._gateway is not None:
            _kill(self._gateway)
            self._gateway = None

    @property
    def options(self) -> S3Options:
        return self.options_at(self.port)

    @staticmethod
    def options_at(port: int) -> S3Options:
        """Return how the server is spoken to, perhaps by way of a relay's port."""
        return S3Options(endpoint=f"http://127.0.0.1:{port}", region=REGION, path_style=True, timeout_s=5, attempts=3)

    def new_bucket(self, *, object_lock: bool = False) -> S3Location:
        """Make a bucket."""
        from botocore.session import Session

        client: Any = Session().create_client("s3", endpoint_url=self.options.endpoint, region_name=REGION)
        name = f"test-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=name, **({"ObjectLockEnabledForBucket": True} if object_lock else {}))
        client.close()
        return S3Location(name, "archive/one")

    def open(self, location: S3Location) -> S3Bucket:
        """Return a client of a bucket."""
        return S3Bucket(location, self.options)


def missing_programs() -> list[str]:
    """Return what must be installed and is not: Debian's ceph-mon, ceph-osd, ceph-common and radosgw."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@contextmanager
def running_radosgw() -> Iterator[Radosgw]:
    """Start a server; it ends with the block, and all it held."""
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="rgw"))  # short: the name of a socket has at most 107 bytes
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        for folder in ("mon", "osd", "rgw"):
            (home / folder).mkdir()
        port, mon_port, fsid = _free_port(), _free_port(), str(uuid.uuid4())
        (home / "ceph.conf").write_text(
            _CONF.format(home=home, fsid=fsid, port=port, mon_port=mon_port, capacity=_CAPACITY_BYTES)
        )
        _make_keys(home)
        _run(
            "monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", str(home / "monmap")
        )
        _ceph(
            home, "ceph-mon", "--mkfs", "-i", "a", "--monmap", str(home / "monmap"), "--keyring", str(home / "keyring")
        )
        stack.enter_context(_daemon(home, "ceph-mon", "-i", "a"))
        _ceph(home, "ceph", "auth", "import", "-i", str(home / "keyring"))
        osd = str(uuid.uuid4())
        _ceph(home, "ceph", "osd", "new", osd, "0")
        _ceph(home, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        stack.enter_context(_daemon(home, "ceph-osd", "-i", "0"))
        _ceph(home, "ceph", "osd", "crush", "add", "0", "1.0", "host=localhost")
        user = ("--uid", "test", "--display-name", "test", "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY)
        _ceph(home, "radosgw-admin", "user", "create", *user)
        gateway = Radosgw(port, _daemon_command(home, "radosgw", "-n", "client.rgw"))
        stack.callback(gateway.kill)
        gateway.start()
        gateway.wait_until_up()
        yield gateway


def _make_keys(home: Path) -> None:
    ring = str(home / "keyring")
    everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
    _run("ceph-authtool", "--create-keyring", ring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    _run("ceph-authtool", ring, "--gen-key", "-n", "client.admin", *everything)
    _run(
        "ceph-authtool", ring, "--gen-key", "-n", "client.rgw", "--cap", "mon", "allow rw", "--cap", "osd", "allow rwx"
    )
    _run(
        "ceph-authtool",
        ring,
        "--gen-key",
        "-n",
        "osd.0",
        "--cap",
        "mon",
        "allow profile osd",
        "--cap",
        "osd",
        "allow *",
    )


def _ceph(home: Path, program: str, *arguments: str) -> None:
    _run(program, "-c", str(home / "ceph.conf"), *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, timeout=_UP_WITHIN_S)
    assert done.returncode == 0, (command, done.stderr.decode(errors="replace"))


@contextmanager
def _daemon(home: Path, program: str, *arguments: str) -> Iterator[None]:
    daemon = _started(_daemon_command(home, program, *arguments))
    try:
        yield
    finally:
        _kill(daemon)  # at once: there is nothing to keep


def _daemon_command(home: Path, program: str, *arguments: str) -> tuple[str, ...]:
    return (program, "-f", *arguments, "-c", str(home / "ceph.conf"))


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)


def _kill(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number: int = taken.getsockname()[1]
        return number


def _wait_until_up(port: int) -> None:
    deadline = time.monotonic() + _UP_WITHIN_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            time.sleep(0.05)  # it tells nobody when it is ready
        else:
            return
    raise RuntimeError("radosgw did not come up")
