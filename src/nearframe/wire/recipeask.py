"""What a receiver says when it asks for a frame by recipe: the line, and bases that it holds.

Query parameters of ``GET /api/studies/{study}/recipes/{digest}``::

    line   bytes a second that the line was measured to carry, a power of two
    base   EVIDENCE:STUDY:DIGEST[:DIGEST ...]     once for each proposal, the strongest first

`base` names frames of one study, by `enc` in hex, in the order the operation wants them;
the number is why they are proposed (`delta.evidence.Evidence`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from nearframe.errors import LimitExceeded, MalformedRequest
from nearframe.ids import Digest, normalise_uid, parse_digest
from nearframe.wire.framerecipe import MAX_BASES

#: Each costs the sender a try.
MAX_PROPOSALS: Final = 6
#: A terabyte a second; and a modem.
_LINE_BYTES_S: Final = (1 << 10, 1 << 40)
_MAX_UID_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class Proposal:
    """Frames of one study that the receiver holds, and why they may be bases."""

    evidence: int
    study_instance_uid: str
    encs: tuple[Digest, ...]


def quantised(line_bytes_s: float) -> int:
    """Return the power of two below a rate: estimates that hardly differ ask for the same recipe."""
    return 1 << max(int(line_bytes_s), _LINE_BYTES_S[0]).bit_length() - 1


def encode_ask(line_bytes_s: int, proposals: Iterable[Proposal]) -> str:
    """Return the query string."""
    bases = [
        ("base", ":".join((str(one.evidence), one.study_instance_uid, *(enc.hex() for enc in one.encs))))
        for one in proposals
    ]
    return urlencode([("line", str(line_bytes_s)), *bases], safe=":")


def read_line(text: str | None) -> int:
    """Read the rate of the line; raises `MalformedRequest`."""
    least, most = _LINE_BYTES_S
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 16 and least <= int(text) <= most):
        raise MalformedRequest("line is the bytes that the line carries a second")
    return int(text)


def read_proposals(texts: list[str]) -> tuple[Proposal, ...]:
    """Read what `encode_ask` wrote.

    Raises
    ------
    MalformedRequest
        If one cannot be read.
    LimitExceeded
        If there are more than are worth a try.
    """
    if len(texts) > MAX_PROPOSALS:
        raise LimitExceeded("bases that are proposed", MAX_PROPOSALS, len(texts))
    return tuple(_proposal(text) for text in texts)


def _proposal(text: str) -> Proposal:
    evidence, _, rest = text.partition(":")
    uid, *digests = rest.split(":")
    if not (evidence.isascii() and evidence.isdigit() and len(evidence) < 3) or not 0 < len(uid) <= _MAX_UID_CHARS:
        raise MalformedRequest("base is evidence, study and digests")
    if not 0 < len(digests) <= MAX_BASES:
        raise MalformedRequest(f"1 to {MAX_BASES} frames are proposed together")
    try:
        encs = tuple(parse_digest(digest) for digest in digests)
    except ValueError as error:
        raise MalformedRequest("a base is a SHA-256 in hex") from error
    return Proposal(int(evidence), normalise_uid(uid), encs)
