"""Where a node listens, whom it follows, and what it says of itself."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from cryptography import x509

from nearframe.errors import UpstreamError
from nearframe.listener.server import TLSFiles, check_certificate
from nearframe.query.health import WELL, Finding, State
from nearframe.settingkinds import Address
from nearframe.upkeep.doctor.patient import Patient, unseen

_RENEW_BEFORE: Final = timedelta(days=14)
_CLOCKS_DIFFER: Final = timedelta(seconds=30)


def look_at_tls(patient: Patient) -> Finding:
    """Look whether the certificate fits its key, and for how long it is valid."""
    certificate, key = patient.settings.tls_cert, patient.settings.tls_key
    if certificate is None or key is None:
        return unseen("tls_cert and tls_key are not set")
    check_certificate(TLSFiles(certificate, key))
    left = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc - patient.now
    if left < timedelta(0):
        return Finding(State.FAILING, f"the certificate ended {-left.days} days ago: renew {certificate}")
    if left < _RENEW_BEFORE:
        return Finding(State.DEGRADED, f"the certificate ends in {left.days} days: renew {certificate}")
    return WELL


def look_at_ports(patient: Patient) -> Finding:
    """Look whether a node that does not run could listen where it is to."""
    if patient.is_running:
        return unseen("the node listens there")
    taken = [words for setting, address in _addresses(patient) if (words := _taken(setting, address))]
    return Finding(State.FAILING, "; ".join(taken)) if taken else WELL


def look_at_upstream(patient: Patient) -> Finding:
    """Look whether the nodes that are followed answer, and what time it is there."""
    if patient.role != "edge" or patient.settings.upstream_kind != "nearframe":
        return unseen("this is no edge of a nearframe node")
    if not patient.settings.upstream:
        return Finding(State.DEGRADED, "no upstream is set: give this command the options of the edge")
    wrong = [words for url in patient.settings.upstream if (words := _upstream(patient, url))]
    if not wrong:
        return WELL
    return Finding(State.DEGRADED, "; ".join(wrong))


def look_at_node(patient: Patient) -> Finding:
    """Ask the running node how it is."""
    if not patient.is_running:
        return unseen("it does not run")
    scheme = "https" if patient.settings.tls else "http"
    url = patient.settings.public_base_url or f"{scheme}://{patient.settings.http}"
    try:
        health: Any = patient.ask(f"{url}/healthz", is_own=True).document
    except UpstreamError as error:
        return Finding(
            State.FAILING,
            f"a process works in this home, and {error}: give this command the node's --http. If that is right, the "
            "node hangs: look at its log, and start it again",
        )
    checks = health.get("checks", {}) if isinstance(health, dict) else {}
    ill = [f"{name}: {one.get('reason', one.get('state'))}" for name, one in checks.items() if one.get("state") != "ok"]
    if not checks:
        return Finding(State.FAILING, f"what answers at {url} is no nearframe node; --http says where it listens")
    state = State.FAILING if health.get("status") == State.FAILING.word else State.DEGRADED
    return Finding(state, "; ".join(ill)) if ill else WELL


def _addresses(patient: Patient) -> Iterator[tuple[str, Address]]:
    yield "http", patient.settings.http
    if patient.settings.dicom is not None:
        yield "dicom", patient.settings.dicom
    if patient.settings.hl7 is not None:
        yield "hl7", patient.settings.hl7


def _taken(setting: str, address: Address) -> str:
    """Return why nothing can listen there, empty if it can."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"another program listens at {address} (ss -ltnp shows which): stop it, or set {setting}"
        if error.errno == errno.EACCES:
            return f"only root may listen at {address}: set {setting} to a port above 1023"
        return f"{address} cannot be listened at ({error.strerror}): set {setting} to an address of this machine"
    return ""


def _upstream(patient: Patient, url: str) -> str:
    try:
        answer = patient.ask(f"{url}/healthz", is_own=False)
    except UpstreamError as error:
        return f"{error}: see the line, and that --upstream names a node"
    if answer.moment is not None and abs(answer.moment - patient.now) > _CLOCKS_DIFFER:
        seconds = abs(answer.moment - patient.now).total_seconds()
        return f"the clocks of this machine and of {url} differ by {seconds:.0f} s: set them by NTP"
    return ""
