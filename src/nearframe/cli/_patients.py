"""Patients, as commands name them and show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PATIENT: Final = "ID, or ID^^^ISSUER where several issuers use it"


def patient_of(named: str) -> dict[str, Any]:
    """Read ID^^^ISSUER, as HL7 writes identifiers (CX)."""
    identifier, separator, issuer = named.partition("^^^")
    return {"id": identifier, "issuer": issuer} if separator else {"id": identifier}


def shown(patient: Mapping[str, str]) -> str:
    """Write an identifier so that `patient_of` takes it."""
    return f"{patient['id']}^^^{patient['issuer']}" if patient["issuer"] else patient["id"]
