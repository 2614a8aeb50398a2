"""Accept-Encoding (RFC 9110 section 12.5.3): which coding a client gets."""

from __future__ import annotations

from collections.abc import Sequence

from nearframe.wire.mediatype import split_list

IDENTITY = "identity"
_ALIASES = {"x-gzip": "gzip"}


def choose_coding(header: str | None, available: Sequence[str]) -> str:
    """Return the first of `available` among those the client ranks highest, or ``identity``.

    Browsers advertise br and zstd in secure contexts only and fail on them elsewhere, so
    nothing is sent that was not asked for by name or by ``*``.
    """
    if not header:
        return IDENTITY
    weights = dict(_weighted(member) for member in split_list(header))
    best, chosen = 0.0, IDENTITY
    for coding in available:
        weight = weights.get(coding, weights.get("*", 0.0))
        if weight > best:
            best, chosen = weight, coding
    return chosen if best >= weights.get(IDENTITY, 0.0) else IDENTITY


def _weighted(member: str) -> tuple[str, float]:
    coding, _, parameter = member.partition(";")
    name, _, value = parameter.partition("=")
    coding = coding.strip().lower()
    try:
        weight = float(value) if name.strip().lower() == "q" else 1.0
    except ValueError:
        weight = 1.0
    return _ALIASES.get(coding, coding), weight
