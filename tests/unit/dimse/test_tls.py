"""What TLS is spoken with, and why it does not come about."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nearframe.dimse.tls import Cause, Credentials, cause_of, explain, is_named
from nearframe.errors import ConfigurationError
from nearframe.listener.devtls import ensure


def test_nothing_below_tls_1_2_and_only_suites_of_bcp_195(tmp_path: Path) -> None:
    made = ensure(tmp_path, datetime.now(UTC))
    own = Credentials(made.files.certificate, made.files.key, made.authority)
    for context in (own.for_listening(), own.for_calling()):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.verify_mode is ssl.CERT_REQUIRED
        names = {str(suite["name"]) for suite in context.get_ciphers() if suite["protocol"] == "TLSv1.2"}
        assert names
        assert all("ECDHE" in name and "GCM" in name for name in names)
    assert Credentials(own.certificate, own.key).for_listening().verify_mode is ssl.CERT_NONE


def test_files_that_are_of_no_use(tmp_path: Path) -> None:
    made = ensure(tmp_path, datetime.now(UTC))
    other = ensure(tmp_path / "other", datetime.now(UTC))
    with pytest.raises(ConfigurationError, match="a certificate of its own"):
        Credentials().for_listening()
    with pytest.raises(ConfigurationError, match=r"localhost\.pem and .*: no certificate with its key.*mismatch"):
        Credentials(made.files.certificate, other.files.key).for_listening()
    with pytest.raises(ConfigurationError, match="No such file"):
        Credentials(tmp_path / "lost.pem", made.files.key).for_calling()
    with pytest.raises(ConfigurationError, match="no certificates in PEM"):
        Credentials(authority=made.files.key).for_calling()


def test_a_key_with_a_password_is_refused_and_not_asked_for(tmp_path: Path) -> None:
    made = ensure(tmp_path, datetime.now(UTC))
    locked = serialization.BestAvailableEncryption(b"secret")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    made.files.key.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, form, locked))
    with pytest.raises(ConfigurationError, match="without a password"):
        Credentials(made.files.certificate, made.files.key).for_listening()


def failure(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] …")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "cause", "said"),
    [
        (failure("WRONG_VERSION_NUMBER"), Cause.NOT_SPOKEN, "does not speak TLS there"),
        (failure("UNSUPPORTED_PROTOCOL"), Cause.VERSION, "no TLS 1.2 or later"),
        (failure("TLSV13_ALERT_CERTIFICATE_REQUIRED"), Cause.WE_SHOW_NONE, "wants to see a certificate of ours"),
        (failure("TLSV1_ALERT_UNKNOWN_CA"), Cause.WE_ARE_NOT_TRUSTED, "does not trust our certificate"),
        (failure("BAD_ECPOINT"), Cause.OTHER, "TLS with the DICOM peer failed (bad ecpoint)"),
        (ConnectionAbortedError("SSL handshake is taking longer than 5.0 seconds"), Cause.SILENCE, "does not answer"),
        (ConnectionResetError(), Cause.BROKEN_OFF, "breaks the handshake of TLS off"),
    ],
)
def test_why_it_does_not_come_about(error: OSError, cause: Cause, said: str) -> None:
    assert cause_of(error) is cause
    assert said in explain(error)


@pytest.mark.parametrize(
    ("certificate", "is_so"),
    [
        (None, False),
        ({}, False),
        ({"subject": ((("organizationName", "ct1"),), (("commonName", "CT1"),))}, True),
        ({"subjectAltName": (("DNS", "pacs.example.org"), ("DNS", "ct1"))}, True),
        ({"subjectAltName": (("DNS", "ct12"),)}, False),
    ],
)
def test_the_name_of_a_certificate(certificate: dict[str, Any] | None, is_so: bool) -> None:
    assert is_named(certificate, "ct1") is is_so
