"""HL7 messages as hospital systems write them, made up for tests."""

from __future__ import annotations

from typing import Any

MSH = "MSH|^~\\&|ADT1|HOSPITAL|NEARFRAME|RAD|20261122080000||{event}|{control_id}|P|{version}"


def message(event: str, *segments: str, control_id: str = "MSG-1", version: str = "2.5.1", more: str = "") -> bytes:
    """Return a message.

    Parameters
    ----------
    segments
        What follows the header.
    more
        What follows MSH-12.
    """
    header = MSH.format(event=event, control_id=control_id, version=version) + more
    return ("\r".join((header, *segments)) + "\r").encode()


def adt(event: str, *segments: str, **more: Any) -> bytes:
    """Return a message of patient administration."""
    return message(f"ADT^{event}", f"EVN|{event}|20261122080000", *segments, **more)


def pid(identifiers: str, name: str = "Doe^Janet", birth: str = "19700101", sex: str = "F", occurrence: int = 1) -> str:
    return f"PID|{occurrence}||{identifiers}||{name}||{birth}|{sex}"


def segment(name: str, fields: dict[int, str]) -> str:
    """Return a segment of which only some fields are filled, by number."""
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])


def mrg(identifiers: str) -> str:
    return f"MRG|{identifiers}"


def segments_of(acknowledgement: bytes) -> dict[str, list[str]]:
    """Return the segments of an acknowledgement, each as its fields by number."""
    found = {}
    for line in acknowledgement.decode("ascii").rstrip("\r").split("\r"):
        name, *fields = line.split("|")
        found[name] = ["", "|", *fields] if name == "MSH" else ["", *fields]
    return found
