"""What each kind of resource can be had as (PS3.18 section 8.7.3), for `wire.accept` to choose from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from nearframe.dicom.targets import DEFAULT
from nearframe.dicom.transfersyntax import ExplicitVRLittleEndian, media_type_of
from nearframe.errors import NotAcceptable
from nearframe.wire.accept import DICOM, OCTET_STREAM, AcceptRange, Offer, Representation, negotiate

DICOM_JSON: Final = "application/dicom+json"
DICOM_XML: Final = "application/dicom+xml"
JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
PDF: Final = "application/pdf"

JSON_OFFER: Final = Offer(DICOM_JSON, also=("application/json",))
XML_OFFER: Final = Offer(DICOM_XML, also=("application/xml", "text/xml"))

#: Names of PS3.18-2014 that some clients still use.
_OLD_NAMES: Final = {"image/jls": ("image/x-jls",), "image/dicom-rle": ("image/x-dicom-rle",)}


def frames(accepted: Sequence[AcceptRange], syntaxes: Iterable[str], count: int) -> Representation:
    """Choose how frames go out.

    Parameters
    ----------
    syntaxes
        In which the frames can be had, the one we would rather send first.
    count
        Frames asked for; more than one needs a multipart answer.

    Raises
    ------
    NotAcceptable
    """
    offers = [_frame_offer(uid) for uid in syntaxes]
    # A bare */* says nothing about compression: the standard's default, if we can give it.
    native = next((offer for offer in offers if offer.is_default), None)
    chosen = negotiate(accepted, offers, anything=native, multipart=True)
    if count > 1 and not chosen.multipart:
        raise NotAcceptable("several frames go into one multipart/related answer; accept that, or ask for one frame")
    return chosen


def label(chosen: Representation) -> str:
    """Return what a frame's validator says besides its digest: the same bytes, labelled otherwise, are not the same."""
    form = "m" if chosen.multipart else "s"
    return f"{form}.{chosen.essence.partition('/')[2]}.{chosen.offer.transfer_syntax}"


def instances(accepted: Sequence[AcceptRange], syntaxes: Iterable[str]) -> Representation:
    """Choose in which transfer syntax instances go out; `DEFAULT` where the client names none.

    Parameters
    ----------
    syntaxes
        In which they can be asked for, as stored first: the answer to a bare ``*/*``.

    Raises
    ------
    NotAcceptable
    """
    offers = [*(Offer(DICOM, uid) for uid in syntaxes), Offer(DICOM, DEFAULT, is_default=True)]
    return negotiate(accepted, offers, multipart=True)


def documents(accepted: Sequence[AcceptRange]) -> Representation:
    """Choose between DICOM JSON and the Native DICOM Model in XML."""
    chosen = negotiate(accepted, [JSON_OFFER, XML_OFFER])
    if chosen.multipart and chosen.offer is JSON_OFFER:
        # "multipart/related" merged into a JSON request (OHIF #3990), or type="*/*": JSON is never multipart.
        return Representation(JSON_OFFER, DICOM_JSON, multipart=False)
    return chosen


def bulkdata(accepted: Sequence[AcceptRange], media_type: str) -> Representation:
    """Choose how a bulk value goes out: under its own media type, or as plain bytes."""
    own = Offer(media_type, also=() if media_type == OCTET_STREAM else (OCTET_STREAM,))
    return negotiate(accepted, [own])


def _frame_offer(uid: str) -> Offer:
    essence = media_type_of(uid)
    also = () if essence == OCTET_STREAM else (OCTET_STREAM, *_OLD_NAMES.get(essence, ()))
    return Offer(essence, uid, also=also, is_default=uid == ExplicitVRLittleEndian)
