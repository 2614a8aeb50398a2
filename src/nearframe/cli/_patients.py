"""Patients, as commands name them."""

from __future__ import annotations

from typing import Any, Final

PATIENT: Final = "ID, or ID^^^ISSUER where several issuers use it"


def patient_of(named: str) -> dict[str, Any]:
    """Read ID^^^ISSUER, as HL7 writes identifiers (CX)."""
    identifier, separator, issuer = named.partition("^^^")
    return {"id": identifier, "issuer": issuer} if separator else {"id": identifier}
