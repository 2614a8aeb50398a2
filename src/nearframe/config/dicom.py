"""Settings of DICOM's own protocol."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nearframe.config.declaring import setting
from nearframe.settingkinds import AE_TITLE, LIST, NUMBER, OPTIONAL_ADDRESS, OPTIONAL_PATH, TABLES, Address, Tables


@dataclass(frozen=True, kw_only=True)
class DICOMSettings:
    """DICOM associations, and the peers they are with."""

    GROUP: ClassVar = "dicom"

    dicom: Address | None = setting(
        OPTIONAL_ADDRESS, None, "Where to listen for DICOM associations; not at all if it is empty."
    )
    ae_title: str = setting(AE_TITLE, "NEARFRAME", "Application entity title of this node.")
    dicom_tls_cert: Path | None = setting(
        OPTIONAL_PATH, None, "Certificate chain (PEM); turns TLS on for DICOM. Also shown to peers that we call by TLS."
    )
    dicom_tls_key: Path | None = setting(OPTIONAL_PATH, None, "Private key of that certificate (PEM).")
    dicom_tls_ca: Path | None = setting(
        OPTIONAL_PATH,
        None,
        "Authorities (PEM) that sign the certificates of DICOM peers. Callers without such a certificate are refused.",
    )
    peers: Tables = setting(
        TABLES,
        (),
        "DICOM peers: [[peers]] tables with ae_title, host, port, networks, may (store, query, retrieve), and tls, "
        "tls_ca, tls_cert, tls_key, tls_name. Where there are some, no other is accepted, and C-MOVE sends to these "
        "only.",
    )
    forward: Tables = setting(
        TABLES,
        (),
        "What goes on to which peer: [[forward]] tables with to (the ae_title of a peer) and conditions by keyword, "
        "such as Modality.",
    )
    forward_patience_s: float = setting(
        NUMBER, 900.0, "Age of the oldest object that waits for a peer, from which health is degraded.", unit="s"
    )
    private_sop_classes: tuple[str, ...] = setting(
        LIST, (), "UIDs of private Storage SOP Classes that are taken by C-STORE too."
    )
