"""Associations by TLS with DCMTK, whose profile is the non-downgrading one of BCP 195; and what is refused."""

from __future__ import annotations

import socket
import ssl
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from bench.peers import free_port
from nearframe.cli import main
from nearframe.dimse.tls import Cause
from nearframe.listener.devtls import DevelopmentTLS, ensure
from tests.conformance import dcmtk
from tests.conformance.dimse_nodes import DicomNode, dicom_node
from tests.integration.dimse.test_workflow import CT_UID, data_set_of

pytestmark = dcmtk.needs_dcmtk

CT_STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentTLS:
    """The certificate, and the authority, of everybody in the clinic."""
    return ensure(tmp_path_factory.mktemp("ours"), datetime.now(UTC))


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentTLS:
    """Those of somebody else."""
    return ensure(tmp_path_factory.mktemp("strange"), datetime.now(UTC))


@pytest.fixture(scope="module")
def receiving_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def node(ours: DevelopmentTLS, receiving_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DicomNode]:
    """A node that wants to see certificates, and knows a receiver that does too."""
    own = ["--dicom-tls-cert", ours.files.certificate, "--dicom-tls-key", ours.files.key]
    receiver = {"ae_title": "RECEIVER", "host": "127.0.0.1", "port": receiving_port, "tls": True}
    peers = [{"ae_title": title} for title in ("ECHOSCU", "STORESCU", "NEARFRAME")]
    home = tmp_path_factory.mktemp("tls") / "home"
    with dicom_node(home, [*peers, receiver], *own, "--dicom-tls-ca", ours.authority) as node:
        yield node


def as_theirs(shown: DevelopmentTLS, trusted: DevelopmentTLS, profile: str = "--profile-bcp195-nd") -> list[object]:
    """Return DCMTK's options for TLS."""
    return ["+tls", shown.files.key, shown.files.certificate, "+cf", trusted.authority, profile]


def as_ours(shown: DevelopmentTLS, trusted: DevelopmentTLS) -> list[str]:
    """Return the options of ``nearframe dicom``."""
    files = ("--cert", shown.files.certificate, "--key", shown.files.key, "--ca-cert", trusted.authority)
    return ["--tls", *map(str, files)]


@pytest.mark.parametrize("profile", ["--profile-bcp195-nd", "--profile-bcp195", "--profile-bcp195-ex"])
def test_profiles_of_bcp_195(node: DicomNode, ours: DevelopmentTLS, profile: str) -> None:
    dcmtk.ask("echoscu", node.port, *as_theirs(ours, ours, profile))


def test_objects_come_and_go_by_tls(node: DicomNode, ours: DevelopmentTLS, receiving_port: int, tmp_path: Path) -> None:
    dcmtk.ask("storescu", node.port, *as_theirs(ours, ours), get_testdata_file("CT_small.dcm"))
    with dcmtk.storescp(tmp_path, *as_theirs(ours, ours), port=receiving_port):
        # DCMTK's movescu speaks no TLS.
        assert main(["dicom", "move", node.peer, CT_STUDY, "--to", "RECEIVER", *as_ours(ours, ours)]) == 0
    (received,) = tmp_path.iterdir()
    assert data_set_of(received.read_bytes()) == data_set_of(node.stored(CT_UID))


def old(shown: DevelopmentTLS) -> ssl.SSLContext:
    """Return a context of TLS 1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.load_verify_locations(shown.authority)
    return context


def test_callers_that_are_refused(node: DicomNode, ours: DevelopmentTLS, strange: DevelopmentTLS) -> None:
    def counted(cause: Cause) -> int:
        return node.refused().get(cause, 0)

    dcmtk.ask("echoscu", node.port, *as_theirs(strange, ours), code=1)
    assert counted(Cause.NOT_TRUSTED) == 1
    dcmtk.ask("echoscu", node.port, "+tla", "+cf", ours.authority, code=1)
    assert counted(Cause.NO_CERTIFICATE) == 1
    dcmtk.ask("echoscu", node.port, code=1)
    assert counted(Cause.NOT_SPOKEN) == 1
    with socket.create_connection(("127.0.0.1", node.port)) as plain, pytest.raises(OSError, match=r"SSL|reset"):
        old(ours).wrap_socket(plain, server_hostname="localhost")
    assert counted(Cause.VERSION) == 1
    dcmtk.ask("echoscu", node.port, *as_theirs(ours, ours))


def echo(capsys: pytest.CaptureFixture[str], port: int, *options: str, code: int) -> str:
    """Return what ``nearframe dicom echo`` says."""
    assert main(["dicom", "echo", f"STORESCP@127.0.0.1:{port}", *options]) == code
    output = capsys.readouterr()
    return output.out + output.err


def test_we_call_a_peer_by_tls(
    ours: DevelopmentTLS, strange: DevelopmentTLS, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with dcmtk.storescp(tmp_path, *as_theirs(ours, ours)) as port:
        assert "done [0000]" in echo(capsys, port, *as_ours(ours, ours), code=0)
        assert "done [0000]" in echo(capsys, port, *as_ours(ours, ours), "--tls-name", "localhost", code=0)
        said = echo(capsys, port, *as_ours(ours, ours), "--tls-name", "pacs.example.org", code=3)
        assert "is for another name" in said
        assert "done [0000]" in echo(capsys, port, *as_ours(ours, ours), "--tls-name", "*", code=0)
        assert "is not trusted" in echo(capsys, port, *as_ours(ours, strange), code=3)
        # Whether its alert comes before it closes the connection is a matter of luck.
        assert "certificate of ours" in echo(capsys, port, "--ca-cert", str(ours.authority), code=3)
        assert "certificate" in echo(capsys, port, *as_ours(strange, ours), code=3)
        assert "TLS on one side only" in echo(capsys, port, code=3)
    with dcmtk.storescp(tmp_path) as port:
        assert "may speak none there" in echo(capsys, port, *as_ours(ours, ours), code=3)
