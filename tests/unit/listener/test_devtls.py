from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from nearframe.listener.devtls import AUTHORITY_LIFETIME, CERTIFICATE_LIFETIME, ensure

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    first = ensure(tmp_path / "tls", NOW)
    second = ensure(tmp_path / "tls", NOW + timedelta(days=300))
    assert (first.renewed, second.renewed) == (True, False)
    assert first.files == second.files


def test_keys_are_for_the_owner_only(tmp_path: Path) -> None:
    made = ensure(tmp_path, NOW)
    for key in (made.files.key, made.authority.with_suffix(".key")):
        assert key.stat().st_mode & 0o777 == 0o600


def test_the_certificate_is_renewed_before_it_ends_and_the_authority_stays(tmp_path: Path) -> None:
    made = ensure(tmp_path, NOW)
    authority, certificate = serial(made.authority), serial(made.files.certificate)
    again = ensure(tmp_path, NOW + CERTIFICATE_LIFETIME - timedelta(days=29))
    assert again.renewed
    assert serial(made.authority) == authority
    assert serial(made.files.certificate) != certificate


def test_an_ended_authority_takes_its_certificate_along(tmp_path: Path) -> None:
    made = ensure(tmp_path, NOW)
    authority = serial(made.authority)
    ensure(tmp_path, NOW + AUTHORITY_LIFETIME)
    assert serial(made.authority) != authority


def test_damaged_files_are_replaced(tmp_path: Path) -> None:
    made = ensure(tmp_path, NOW)
    made.files.certificate.write_text("damaged")
    assert ensure(tmp_path, NOW).renewed
    made.files.key.unlink()
    assert ensure(tmp_path, NOW).renewed


def test_the_pair_loads_and_the_authority_may_sign_for_this_machine_only(tmp_path: Path) -> None:
    made = ensure(tmp_path, NOW)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(made.files.certificate, made.files.key)
    authority = x509.load_pem_x509_certificate(made.authority.read_bytes())
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    permitted = constraints.value.permitted_subtrees or []
    assert [str(name.value) for name in permitted] == ["localhost", "127.0.0.0/8", "::1/128"]
