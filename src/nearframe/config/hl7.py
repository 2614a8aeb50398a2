"""Settings of HL7 messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nearframe.config.declaring import setting
from nearframe.settingkinds import OPTIONAL_ADDRESS, OPTIONAL_PATH, SIZE, TABLES, TEXT, Address, Tables, choice
from nearframe.units import MIB


@dataclass(frozen=True, kw_only=True)
class HL7Settings:
    """HL7 messages, and who may send them."""

    GROUP: ClassVar = "hl7"

    hl7: Address | None = setting(
        OPTIONAL_ADDRESS, None, "Where to listen for HL7 messages by MLLP; not at all if it is empty."
    )
    hl7_tls_cert: Path | None = setting(OPTIONAL_PATH, None, "Certificate chain (PEM); turns TLS on for HL7.")
    hl7_tls_key: Path | None = setting(OPTIONAL_PATH, None, "Private key of that certificate (PEM).")
    hl7_tls_ca: Path | None = setting(
        OPTIONAL_PATH,
        None,
        "Authorities (PEM) that sign the certificates of HL7 senders. Callers without such a certificate are refused.",
    )
    hl7_senders: Tables = setting(
        TABLES,
        (),
        "HL7 senders: [[hl7_senders]] tables with application and facility (MSH-3, MSH-4), networks, and may "
        "(patients, orders). Where there are some, messages of no other are taken.",
    )
    hl7_authorities: Tables = setting(
        TABLES,
        (),
        "What assigning authorities are called in images: [[hl7_authorities]] tables with authority (CX.4) and "
        'issuers, a list of values of Issuer of Patient ID; "" stands for images that name none. An authority that is '
        "not among them is called as it is.",
    )
    hl7_processing_id: str = setting(
        choice("production", "training", "debugging"),
        "production",
        "Which messages are taken (MSH-11): those of one of these.",
    )
    hl7_character_set: str = setting(
        TEXT, "UNICODE UTF-8", "Character set of HL7 messages that name none in MSH-18, as it is called there."
    )
    hl7_max_message_bytes: int = setting(SIZE, MIB, "Longest HL7 message that is taken.", unit="bytes")
