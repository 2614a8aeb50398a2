"""Every error the system raises on purpose, split by who has to act.

::

    NearframeError
    ├── RequestError            the caller must change something  -> HTTP 4xx, DICOM failure reason, exit 2
    │   ├── MalformedRequest    the HTTP request cannot be read                       400
    │   ├── MalformedPDU        what a DICOM peer sends is not the protocol           A-ABORT
    │   ├── UnacceptableMessage an HL7 message that is not taken, and where in it     AE or AR
    │   ├── MalformedDICOM      the object cannot be read; `reason` is PS3.18 I.2.2   400 / 0xC000
    │   ├── LimitExceeded       a guard stopped it before memory or time was spent    413 / 0xA700
    │   ├── TooBroad            a search took too long: narrow it                     413
    │   ├── MissingIdentifier   a UID that must be there is not                       400 / 0xA900
    │   ├── NotFound            no such study, series, instance, frame, version       404
    │   ├── NotAcceptable       no representation fits the Accept header              406
    │   ├── UnsupportedMedia    a request body of a kind we do not take               415
    │   ├── RangeNotSatisfiable                                                       416
    │   ├── Gone                a feed cursor of another epoch: resynchronise         410
    │   ├── Conflict            another thing is there under this name                409
    │   │   └── OnHold          a legal hold keeps it as it is                        409
    │   ├── Refused             policy forbids it (DELETE is off)                     403
    │   ├── LoopDetected        the request has been through this node before         508
    │   └── ConfigurationError  a setting is wrong; names the setting and the remedy  exit 2
    ├── AccessError             who may see what                                      401 / 403, exit 2
    ├── IntegrityError          bytes do not match digest, tag or proof: never retried,
    │                           never served, always counted                           500, exit 1
    ├── UpstreamError           the other node                                        502, exit 3
    │   ├── UpstreamUnavailable retry, serve stale, queue                             503
    │   │   └── AssociationLost the DICOM peer aborted, or is gone
    │   └── UpstreamTimeout                                                           504
    └── StorageError                                                                  exit 3
        ├── NoSpace             the disk is full: refused, nothing lost               507 / 0xA700
        │   └── NotAdmitted     an edge does not keep what only passes through
        ├── Busy                a bounded resource is taken: try again                503
        │   └── LeaseLost       another process does this work now
        └── BackendFailed       the store or the database failed                      500
            └── DatabaseAway    its server does not answer: try again                 503

A message says what was found, where, and what to do. It never holds a patient's name,
a patient identifier, a UID or a token: those stay in fields that logs do not print.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class NearframeError(Exception):
    """Base of every error raised on purpose."""

    http_status: ClassVar[int] = 500
    #: PS3.18 Table I.2-2 / PS3.7 Annex C failure reason, as in STOW (0008,1197).
    failure_reason: ClassVar[int] = 0x0110
    #: Of the command line: 1 not as it should be, 2 change the command, 3 try again later.
    exit_code: ClassVar[int] = 1


class RequestError(NearframeError):
    """The caller must change something."""

    http_status = 400
    failure_reason = 0xC000
    exit_code = 2


class MalformedRequest(RequestError):
    """The request cannot be read."""


class MalformedPDU(RequestError):
    """A DICOM peer does not keep to the protocol (PS3.8): the association is aborted.

    Parameters
    ----------
    reason
        Of the A-ABORT (PS3.8 Table 9-26): 6 is an invalid value of a parameter.
    """

    def __init__(self, message: str, reason: int = 6) -> None:
        super().__init__(message)
        self.reason = reason


class UnacceptableMessage(RequestError):
    """An HL7 message is not taken.

    Parameters
    ----------
    condition
        Of HL7 table 0357: 101 is a missing field, 102 a value of the wrong form, 207 a failure of ours.
    segment, field, occurrence
        Where in the message, as far as that is known; fields and occurrences are counted from 1.
    """

    def __init__(self, condition: int, message: str, segment: str = "", field: int = 0, occurrence: int = 1) -> None:
        super().__init__(message)
        self.condition = condition
        self.segment = segment
        self.field = field
        self.occurrence = occurrence


class MalformedDICOM(RequestError):
    """The object cannot be read as DICOM.

    Parameters
    ----------
    message
        What was found and where, without values of the object.
    offset
        Byte offset in the object, where one is known.
    """

    def __init__(self, message: str, *, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message} (at byte {offset})")
        self.offset = offset


class LimitExceeded(RequestError):
    """A guard refused the object before memory or time was spent on it.

    Parameters
    ----------
    limit
        The name of the setting, or in words what is bounded where there is none.
    """

    http_status = 413
    failure_reason = 0xA700

    def __init__(self, limit: str, allowed: float, found: float | None = None) -> None:
        seen = "" if found is None else f", found {found:g}"
        remedy = "; raise the setting if this object is genuine" if limit.startswith("max_") else ""
        super().__init__(f"{limit} allows {allowed:g}{seen}{remedy}")
        self.limit = limit
        self.allowed = allowed
        self.found = found


class TooBroad(RequestError):
    """A search was stopped because it took too long: narrow it (PS3.18 Table 10.6.3-1)."""

    http_status = 413

    def __init__(self) -> None:
        super().__init__("the search took too long and was stopped; add keys that narrow it, such as a date range")


class MissingIdentifier(RequestError):
    """A UID that must be present is not."""

    failure_reason = 0xA900

    def __init__(self, keyword: str) -> None:
        super().__init__(f"{keyword} is missing")
        self.keyword = keyword


class MismatchedIdentifier(RequestError):
    """An object's UID differs from the one the request names."""

    http_status = 409
    failure_reason = 0xA901

    def __init__(self, keyword: str) -> None:
        super().__init__(f"{keyword} of the object is not the one in the request")
        self.keyword = keyword


class NotFound(RequestError):
    """No such thing here."""

    http_status = 404

    def __init__(self, what: str) -> None:
        super().__init__(f"no such {what}")
        self.what = what


class NotAcceptable(RequestError):
    """No representation fits what the caller accepts."""

    http_status = 406

    def __init__(self, message: str, available: tuple[str, ...] = ()) -> None:
        super().__init__(f"{message}; available: {', '.join(available)}" if available else message)
        self.available = available


class UnsupportedMedia(RequestError):
    """A request body of a kind we do not take."""

    http_status = 415


class RangeNotSatisfiable(RequestError):
    """The asked range lies outside the representation (RFC 9110 section 15.5.17)."""

    http_status = 416

    def __init__(self, size: int) -> None:
        super().__init__(f"range outside the {size} bytes there are")
        self.size = size


class Gone(RequestError):
    """A cursor of another epoch: the caller must resynchronise."""

    http_status = 410


class Conflict(RequestError):
    """Another thing is there under this name."""

    http_status = 409


class OnHold(Conflict):
    """A legal hold keeps something in view, where it is and whose it is, until it is released.

    Parameters
    ----------
    holds
        Their numbers.
    """

    def __init__(self, holds: Sequence[int]) -> None:
        named = ", ".join(map(str, holds))
        super().__init__(
            f"legal hold {named} keeps this in view, where it is and whose it is; nearframe hold list says why, and "
            "nearframe hold release ends one"
        )
        self.holds = tuple(holds)


class Refused(RequestError):
    """Policy forbids it."""

    http_status = 403
    failure_reason = 0x0124


class LoopDetected(RequestError):
    """The request has been through this node before: two nodes are each other's upstream."""

    http_status = 508


class ConfigurationError(RequestError):
    """A setting is wrong; the message names it and the remedy."""


class AccessError(NearframeError):
    """The caller may not see or do this."""

    http_status = 403
    failure_reason = 0x0124
    exit_code = 2


class IntegrityError(NearframeError):
    """Bytes do not match their digest, tag or proof: never retried, never served, always counted."""


class UpstreamError(NearframeError):
    """The other node answered with something we cannot use."""

    http_status = 502
    exit_code = 3


class UpstreamUnavailable(UpstreamError):
    """The other node cannot be reached: retry, serve what is held, or queue."""

    http_status = 503


class AssociationLost(UpstreamUnavailable):
    """A DICOM association ended before what was under way on it."""

    def __init__(self, message: str = "the DICOM peer is gone") -> None:
        super().__init__(message)


class UpstreamTimeout(UpstreamError):
    """The other node did not answer in time."""

    http_status = 504


class StorageError(NearframeError):
    """The store could not do it."""

    exit_code = 3


class NoSpace(StorageError):
    """The disk is full: the request is refused and nothing acknowledged is lost."""

    http_status = 507
    failure_reason = 0xA700

    def __init__(self, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(
            f"{needed_bytes} bytes needed, {free_bytes} free above the reserve; free some disk or add a volume"
        )
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class NotAdmitted(NoSpace):
    """An edge does not keep what only passes through, so that it puts out nothing that somebody reads."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes, 0)
        self.args = ("read in bulk, or more than its study's share of this edge: passed on, not kept",)


class Busy(StorageError):
    """A bounded resource is taken: try again."""

    http_status = 503
    failure_reason = 0xA700


class ArchiveMoved(Busy):
    """The archive was carried elsewhere: it is read here until everybody asks there, and takes nothing in."""

    def __init__(self) -> None:
        super().__init__("this archive is served from another place now, and is only read here; send it again")


class LeaseLost(Busy):
    """Work that only one process of an archive does is another's now: nothing was written."""

    def __init__(self) -> None:
        super().__init__("another process of this archive does this work now")


class BackendFailed(StorageError):
    """The store or the database failed."""


class DatabaseAway(BackendFailed):
    """The catalogue's server does not answer, or went away meanwhile: try again."""

    http_status = 503
    failure_reason = 0xA700


class StatementRefused(BackendFailed):
    """The database works and does not take this: a defect of ours, which waiting does not mend."""
