"""TLS of associations, on either side, by PS3.15 Annex B.12 (BCP 195): TLS 1.2 at least, and no way back to less.

The profile of Annex B.10, which peers call non-downgrading, is met by the same: what it adds
to the one of its time is what BCP 195 demands now.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from nearframe.config import Settings
from nearframe.errors import ConfigurationError

#: RFC 9325 section 4.2. Those of TLS 1.3 are OpenSSL's own. None with DHE: the length of its keys
#: cannot be set here, and Annex B.13 then forbids it. Level 2 refuses keys of less than 112 bits.
_CIPHERS: Final = "ECDHE+AESGCM:@SECLEVEL=2"
#: X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH.
_WRONG_NAME: Final = (62, 64)
#: Instead of a name: whatever the authority signed.
ANY_NAME: Final = "*"


class Cause(StrEnum):
    """Why TLS does not come about, as it is counted."""

    NOT_SPOKEN = "TLS: not spoken"
    VERSION = "TLS: version too old"
    NO_CIPHER = "TLS: no cipher suite in common"
    NO_CERTIFICATE = "TLS: no certificate"
    NOT_TRUSTED = "TLS: certificate not trusted"
    WE_ARE_NOT_TRUSTED = "TLS: our certificate not trusted"
    WE_SHOW_NONE = "TLS: our certificate missing"
    SILENCE = "TLS: silence"
    BROKEN_OFF = "TLS: broken off"
    OTHER = "TLS: other"


#: What OpenSSL says, on either side.
_CAUSES: Final = {
    "WRONG_VERSION_NUMBER": Cause.NOT_SPOKEN,
    "HTTP_REQUEST": Cause.NOT_SPOKEN,
    "PACKET_LENGTH_TOO_LONG": Cause.NOT_SPOKEN,
    "RECORD_LAYER_FAILURE": Cause.NOT_SPOKEN,
    "UNSUPPORTED_PROTOCOL": Cause.VERSION,
    "VERSION_TOO_LOW": Cause.VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": Cause.VERSION,
    "NO_SHARED_CIPHER": Cause.NO_CIPHER,
    "INSUFFICIENT_SECURITY": Cause.NO_CIPHER,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": Cause.NO_CIPHER,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": Cause.NO_CERTIFICATE,
    "CERTIFICATE_VERIFY_FAILED": Cause.NOT_TRUSTED,
    "EE_KEY_TOO_SMALL": Cause.NOT_TRUSTED,
    "CA_MD_TOO_WEAK": Cause.NOT_TRUSTED,
    "TLSV1_ALERT_UNKNOWN_CA": Cause.WE_ARE_NOT_TRUSTED,
    "TLSV1_ALERT_DECRYPT_ERROR": Cause.WE_ARE_NOT_TRUSTED,
    "TLSV1_ALERT_ACCESS_DENIED": Cause.WE_ARE_NOT_TRUSTED,
    "SSLV3_ALERT_BAD_CERTIFICATE": Cause.WE_ARE_NOT_TRUSTED,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": Cause.WE_ARE_NOT_TRUSTED,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": Cause.WE_ARE_NOT_TRUSTED,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": Cause.WE_ARE_NOT_TRUSTED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": Cause.WE_ARE_NOT_TRUSTED,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": Cause.WE_SHOW_NONE,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": Cause.BROKEN_OFF,
    "UNEXPECTED_EOF_WHILE_READING": Cause.BROKEN_OFF,
}
_WORDS: Final = {
    Cause.NOT_SPOKEN: "the DICOM peer does not speak TLS there: call it without, or on its port for TLS",
    Cause.VERSION: "the DICOM peer speaks no TLS 1.2 or later, and nothing less is spoken here",
    Cause.NO_CIPHER: "the DICOM peer and this side have no cipher suite of TLS in common (BCP 195)",
    Cause.NO_CERTIFICATE: "the DICOM peer shows no certificate",
    Cause.WE_ARE_NOT_TRUSTED: (
        "the DICOM peer does not trust our certificate: have who signed it made known there, or show another "
        "(--cert and --key, or tls_cert and tls_key of the peer)"
    ),
    Cause.WE_SHOW_NONE: (
        "the DICOM peer wants to see a certificate of ours: name one (--cert and --key, or tls_cert and tls_key of "
        "the peer)"
    ),
    Cause.SILENCE: "the DICOM peer does not answer in TLS: it may speak none there",
    Cause.BROKEN_OFF: (
        "the DICOM peer breaks the handshake of TLS off: it may speak none there, not trust our certificate, or want "
        "to see one (--cert and --key, or tls_cert and tls_key of the peer)"
    ),
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who one side is, and whom it trusts: PEM files.

    Attributes
    ----------
    certificate, key
        Our certificate, with its chain, and its key. None to show none.
    authority
        Who signed what peers show. None for those that this machine trusts; a listener then asks for nothing.
    """

    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> Credentials:
        """Return those of a node."""
        return cls(settings.dicom_tls_cert, settings.dicom_tls_key, settings.dicom_tls_ca)

    def for_listening(self) -> ssl.SSLContext:
        """Return a context for who is called; where there is an authority, callers have to show a certificate.

        Raises
        ------
        ConfigurationError
            If a file cannot be used.
        """
        if self.certificate is None:
            raise ConfigurationError("who is called by TLS needs a certificate of its own, and there is none")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._complete(context)
        if self.authority is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def for_calling(self, *, checks_name: bool = True) -> ssl.SSLContext:
        """Return a context for who calls; raises as `for_listening`.

        Parameters
        ----------
        checks_name
            False to take whatever the authority signed, whoever it was signed for.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = checks_name
        self._complete(context)
        if self.authority is None:
            context.load_default_certs()
        return context

    def _complete(self, context: ssl.SSLContext) -> None:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_ciphers(_CIPHERS)
        if self.certificate is not None:
            try:
                # A key with a password is refused: OpenSSL would ask for it on the terminal.
                context.load_cert_chain(self.certificate, self.key, password=lambda: "")
            except (OSError, ssl.SSLError) as error:
                files = " and ".join(str(path) for path in (self.certificate, self.key) if path is not None)
                raise ConfigurationError(
                    f"{files}: no certificate with its key, in PEM and without a password ({_said(error)})"
                ) from error
        if self.authority is not None:
            try:
                context.load_verify_locations(self.authority)
            except (OSError, ssl.SSLError) as error:
                raise ConfigurationError(f"{self.authority}: no certificates in PEM ({_said(error)})") from error


def cause_of(error: OSError) -> Cause:
    """Return why a handshake failed."""
    if isinstance(error, ssl.SSLError):
        return _CAUSES.get(error.reason or "", Cause.OTHER)
    # What the event loop raises when a handshake takes too long, and when the peer goes away in it.
    return Cause.SILENCE if isinstance(error, TimeoutError | ConnectionAbortedError) else Cause.BROKEN_OFF


def explain(error: OSError) -> str:
    """Return why TLS with a peer that we called failed, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _WRONG_NAME:
            return (
                f"the DICOM peer's certificate is for another name ({error.verify_message}): name it (--tls-name, or "
                "tls_name of the peer)"
            )
        return (
            f"the DICOM peer's certificate is not trusted ({error.verify_message}): name who signed it (--ca-cert, or "
            "tls_ca of the peer)"
        )
    return _WORDS.get(cause_of(error)) or f"TLS with the DICOM peer failed ({_said(error)})"


def is_named(certificate: Mapping[str, Any] | None, name: str) -> bool:
    """Return whether a certificate, as `ssl.SSLObject.getpeercert` gives it, is of this name."""
    found = certificate or {}
    names = [value for _, value in found.get("subjectAltName", ())]
    names += [value for part in found.get("subject", ()) for key, value in part if key == "commonName"]
    return name.lower() in map(str.lower, names)


def _said(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return error.strerror or str(error) or type(error).__name__
