"""An offer: instances that a node has and its upstream may lack, by digest; and the answer.

Digests stand one after the other in Base64: those of ten thousand frames are 430 KB. An offer
names no instance twice, so that its upstream may record them in any order.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from nearframe.errors import MalformedRequest
from nearframe.ids import DIGEST_BYTES, Digest, parse_digest
from nearframe.wire.document import dump_json

MAX_INSTANCES: Final = 500
#: Digests of one offer: pieces of one instance may be 250 000 frames (`max_frames`).
MAX_BYTES: Final = 24 * 1024 * 1024
#: In place of the digest of a piece that is no part of the file, but made from it: it need not be sent.
NOT_IN_FILE: Final[Digest] = bytes(DIGEST_BYTES)
_MAX_UID_CHARS: Final = 256


class Stand(Enum):
    """How an offered instance stands."""

    #: It is durable at the node that answers.
    RECORDED = "recorded"
    #: Some of its contents have to be sent first.
    LACKING = "lacking"
    #: It cannot be recorded, however often it is offered.
    REFUSED = "refused"
    #: It could not be recorded now.
    LATER = "later"


@dataclass(frozen=True, slots=True)
class OfferedInstance:
    """An instance of an offer.

    Attributes
    ----------
    file
        Digest that identifies the whole file (`wire.header.file_digest`).
    pieces
        Digest of each piece, in the order of the file, or `NOT_IN_FILE`.
    is_again
        The upstream had it once, and was restored from a backup that has not: what it knows to have
        removed before is not to come back by that.
    """

    sop_instance_uid: str
    hdr: Digest
    file: Digest
    pieces: tuple[Digest, ...]
    is_again: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """Instances of one study."""

    study_instance_uid: str
    instances: tuple[OfferedInstance, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of an offered instance.

    Attributes
    ----------
    outcome
        Of what was recorded: ``created``, ``repeated``, ``revised``, ``conflicting``.
    version
        The number that it has upstream.
    reason
        For people: why not, or a warning.
    is_archived
        False of what is recorded at an edge and not known to be in the archive.
    """

    stand: Stand
    outcome: str = ""
    version: int = 0
    reason: str = ""
    is_archived: bool = True


@dataclass(frozen=True, slots=True)
class OfferAnswer:
    """One `Answered` for each instance, in order, and the contents that are lacking.

    Attributes
    ----------
    recipes
        True if frames may be sent as recipes (`delta.sent`).
    """

    instances: tuple[Answered, ...]
    lacks: tuple[Digest, ...]
    recipes: bool = False


def encode_offer(offer: Offer) -> bytes:
    """Return an offer as JSON."""
    instances = [
        {"instance": one.sop_instance_uid, "hdr": one.hdr.hex(), "file": one.file.hex(), "pieces": _joined(one.pieces)}
        | ({"again": True} if one.is_again else {})
        for one in offer.instances
    ]
    return dump_json({"study": offer.study_instance_uid, "instances": instances})


def read_offer(document: Mapping[str, Any]) -> Offer:
    """Read an offer.

    Raises
    ------
    MalformedRequest
        If it is none, or names an instance twice.
    """
    try:
        instances = tuple(_offered(one) for one in document["instances"])
        offer = Offer(_uid(document["study"]), instances)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedRequest("an offer names a study and its instances, each with its digests") from error
    if not 0 < len(instances) <= MAX_INSTANCES:
        raise MalformedRequest(f"an offer has 1 to {MAX_INSTANCES} instances")
    if len({one.sop_instance_uid for one in instances}) < len(instances):
        raise MalformedRequest("an offer names each instance once")
    return offer


def encode_answer(answer: OfferAnswer) -> bytes:
    """Return an answer as JSON."""
    instances = [
        {
            "state": one.stand.value,
            "outcome": one.outcome,
            "version": one.version,
            "reason": one.reason,
            "archived": one.is_archived,
        }
        for one in answer.instances
    ]
    return dump_json({"instances": instances, "lacks": _joined(answer.lacks), "recipes": answer.recipes})


def read_answer(document: Mapping[str, Any]) -> OfferAnswer:
    """Read an answer; raises `MalformedRequest`."""
    try:
        instances = tuple(
            Answered(
                Stand(one["state"]),
                str(one["outcome"]),
                int(one["version"]),
                str(one["reason"]),
                one["archived"] is True,
            )
            for one in document["instances"]
        )
        return OfferAnswer(instances, _parted(document["lacks"]), document.get("recipes") is True)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedRequest("the answer to an offer cannot be read") from error


def _offered(one: Mapping[str, Any]) -> OfferedInstance:
    return OfferedInstance(
        _uid(one["instance"]),
        parse_digest(one["hdr"]),
        parse_digest(one["file"]),
        _parted(one["pieces"]),
        one.get("again") is True,
    )


def _uid(text: object) -> str:
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_UID_CHARS:
        raise ValueError("a UID is a short text")
    return text


def _joined(digests: Iterable[Digest]) -> str:
    return base64.b64encode(b"".join(digests)).decode("ascii")


def _parted(text: str) -> tuple[Digest, ...]:
    try:
        joined = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("digests are not in Base64") from error
    if len(joined) % DIGEST_BYTES:
        raise ValueError("a digest is cut")
    return tuple(joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES))
