"""What the DICOMweb routes need of a node's services: storing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from nearframe.context import Context
from nearframe.ids import Identity
from nearframe.storage.ports import Buffer, Outcome


class IncomingPart(Protocol):
    """One part of a Store request, or its whole body when that is not multipart.

    The reader of a request yields parts one after the other: a part's `body` must be
    consumed, or given up, before the next part is asked for.

    Attributes
    ----------
    headers
        Names in lower case: ``content-type``, ``content-location``, ``content-length``.
    body
        The part's bytes in chunks of any size. Raises `MalformedRequest` where the
        request ends early.
    """

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def body(self) -> AsyncIterator[Buffer]: ...


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """An instance that is durable.

    Attributes
    ----------
    warning_reason
        Warning Reason (0008,1196), or None.
    warning
        The same for a person to read; empty if there is none.
    """

    identity: Identity
    outcome: Outcome
    version: int
    warning_reason: int | None = None
    warning: str = ""


@dataclass(frozen=True, slots=True)
class FailedInstance:
    """An instance that was not stored.

    Attributes
    ----------
    identity
        None if the part could not be read that far: such a failure is reported under
        Other Failures Sequence (0008,119A), others under Failed SOP Sequence (0008,1198).
    failure_reason
        Failure Reason (0008,1197).
    http_status
        What the failure would be as the answer to a request of its own.
    message
        What was found and what to do, without values of the object.
    """

    identity: Identity | None
    failure_reason: int
    http_status: int
    message: str


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What became of each instance of a Store request, in the order received (PS3.18 section 10.5.3)."""

    stored: tuple[StoredInstance, ...] = ()
    failed: tuple[FailedInstance, ...] = ()


class StoreService(Protocol):
    """Takes in instances."""

    async def store(self, ctx: Context, parts: AsyncIterator[IncomingPart], study: str | None) -> StoreReport:
        """Store the instances in `parts`; on return those reported stored are durable.

        A part that fails does not stop the others. With `study`, an instance of another
        study is refused.

        Raises
        ------
        MalformedRequest
            If the request itself cannot be read; what was complete before is stored all the same.
        UnsupportedMedia
            If no part is of a kind that holds DICOM.
        Busy
            If the node has no room for another request now.
        """
        ...


class RemoveService(Protocol):
    """Removes from view, where policy allows it."""

    async def remove(self, ctx: Context, study: str, series: str | None, instance: str | None) -> None:
        """Remove a study, a series or an instance; versions stay until garbage is collected.

        Raises
        ------
        Refused
            If policy forbids it.
        NotFound
            If there is none.
        """
        ...
