"""What a client accepts, and which of our offers it gets (PS3.18 section 8.7, RFC 9110 section 12).

Viewers differ in spelling: quoted or bare values, parameters in any order, several
alternatives, a whole second Accept merged into the first. All are read. What is not
understood is left out, and only an Accept that leaves nothing is an error.

Choosing: ranges of the highest q first; within one q the server's order of offers
decides (cheapest first), because viewers list everything they can decode. The range
that matched decides the form: one part or multipart, and under which media type.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from nearframe.errors import NotAcceptable
from nearframe.wire.mediatype import MediaType, parse_media_types

ANYTHING = "*/*"
OCTET_STREAM = "application/octet-stream"
DICOM = "application/dicom"
ANY_TRANSFER_SYNTAX = "*"

#: Without a transfer-syntax parameter these mean one agreed syntax (PS3.18 Table 8.7.3-2 and -5).
_NEED_A_SYNTAX = (OCTET_STREAM, DICOM)


@dataclass(frozen=True, slots=True)
class AcceptRange:
    """One alternative of an Accept header.

    Attributes
    ----------
    essence
        The media type or range of the payload: the ``type`` parameter of a multipart.
    multipart
        True for ``multipart/related``.
    transfer_syntax
        A UID, ``"*"``, or None where the parameter is absent.
    """

    essence: str
    multipart: bool = False
    transfer_syntax: str | None = None
    q: float = 1.0

    @property
    def is_anything(self) -> bool:
        """True for a bare ``*/*``, which leaves the form to us as well."""
        return self.essence == ANYTHING and not self.multipart

    def covers(self, essence: str) -> bool:
        """Return True if the payload's media type fits."""
        return MediaType(self.essence).matches(essence)


@dataclass(frozen=True, slots=True)
class Offer:
    """A representation we can give.

    Attributes
    ----------
    also
        Media types it may be sent under when asked by that name.
    is_default
        True for the offer that ``application/octet-stream`` or ``application/dicom`` means
        when no transfer syntax is named.
    """

    essence: str
    transfer_syntax: str | None = None
    also: tuple[str, ...] = ()
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class Representation:
    """The chosen offer, and in which form it goes."""

    offer: Offer
    essence: str
    multipart: bool

    @property
    def part_type(self) -> str:
        """The Content-Type of a part, or of the whole where there are no parts.

        It always names the transfer syntax: a viewer that finds none assumes one.
        """
        if self.offer.transfer_syntax is None:
            return self.essence
        return f"{self.essence}; transfer-syntax={self.offer.transfer_syntax}"

    @property
    def media_type(self) -> MediaType:
        """`part_type` as a value."""
        syntax = self.offer.transfer_syntax
        return MediaType(self.essence, {} if syntax is None else {"transfer-syntax": syntax})


ANYTHING_RANGE = AcceptRange(ANYTHING)


@lru_cache(maxsize=256)
def parse_accept(header: str | None, override: str | None = None) -> tuple[AcceptRange, ...]:
    """Return the alternatives of an Accept header, in order.

    Parameters
    ----------
    header
        None and a blank header mean ``*/*`` (RFC 9110 section 12.5.1).
    override
        The ``accept`` query parameter, which replaces the header (PS3.18 section 8.3.3.1).
    """
    # A "+" of application/dicom+json is a blank once a query string is decoded.
    text = override.replace("dicom json", "dicom+json").replace("dicom xml", "dicom+xml") if override else header
    if text is None or not text.strip():
        return (ANYTHING_RANGE,)
    return tuple(_range_of(media_type) for media_type in parse_media_types(text))


def _range_of(media_type: MediaType) -> AcceptRange:
    essence, multipart = media_type.essence, False
    if essence in ("multipart/related", "multipart/*"):
        essence, multipart = (media_type.get("type") or ANYTHING).lower(), True
        essence += "*" if essence.endswith("/") else ""
    return AcceptRange(essence, multipart, media_type.get("transfer-syntax") or None, _quality(media_type.get("q")))


def _quality(text: str | None) -> float:
    try:
        return min(1.0, max(0.0, float(text))) if text else 1.0
    except ValueError:
        return 1.0


def negotiate(
    accepted: Sequence[AcceptRange], offers: Sequence[Offer], *, anything: Offer | None = None, multipart: bool = False
) -> Representation:
    """Choose the offer and form that fit best.

    Parameters
    ----------
    accepted
        See `parse_accept`.
    offers
        In order of the server's preference.
    anything
        The answer to a bare ``*/*``; the first offer if None.
    multipart
        The form of that answer.

    Raises
    ------
    NotAcceptable
        If nothing fits; it lists what is available.
    """
    refused = [range_ for range_ in accepted if range_.q == 0 and not range_.is_anything]
    open_offers = [offer for offer in offers if not any(_fits(range_, offer) for range_ in refused)]
    for quality in sorted({range_.q for range_ in accepted if range_.q > 0}, reverse=True):
        ranges = [range_ for range_ in accepted if range_.q == quality]
        for offer in open_offers:
            for range_ in ranges:
                if not range_.is_anything and (essence := _fits(range_, offer)):
                    return Representation(offer, essence, range_.multipart)
        if open_offers and any(range_.is_anything for range_ in ranges):
            offer = anything if anything in open_offers and anything is not None else open_offers[0]
            return Representation(offer, offer.essence, multipart)
    raise NotAcceptable("nothing fits the Accept header", _described(offers))


def _fits(range_: AcceptRange, offer: Offer) -> str | None:
    """Return the media type under which `offer` satisfies `range_`, or None."""
    if range_.transfer_syntax not in (None, ANY_TRANSFER_SYNTAX, offer.transfer_syntax):
        return None
    for essence in (offer.essence, *offer.also):
        if not range_.covers(essence):
            continue
        unnamed = range_.transfer_syntax is None and range_.essence in _NEED_A_SYNTAX
        if unnamed and offer.transfer_syntax is not None and not offer.is_default:
            continue
        return essence
    return None


def _described(offers: Iterable[Offer]) -> tuple[str, ...]:
    described = (o.essence + (f"; transfer-syntax={o.transfer_syntax}" if o.transfer_syntax else "") for o in offers)
    return tuple(dict.fromkeys(described))
