"""Sending files by C-STORE: what each is, on which associations they go, and what became of each.

A file goes as it is, in its own transfer syntax: byte for byte what is behind its file meta
information. Nothing is held in memory but what is on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final, Protocol, TypeAlias

from nearframe import tasks
from nearframe.dicom.limits import Limits
from nearframe.dicom.part10 import parse
from nearframe.dicom.source import CHUNK_BYTES
from nearframe.dicom.transfersyntax import transfer_syntax
from nearframe.dimse import words
from nearframe.dimse.channel import Timeouts
from nearframe.dimse.negotiation import MAX_CONTEXTS
from nearframe.dimse.scu import Peer, User, associate
from nearframe.errors import MissingIdentifier, NotAcceptable, UpstreamError

#: SOP class and transfer syntax: what a presentation context is proposed for.
Kind: TypeAlias = tuple[str, str]

_SOP_CLASS: Final = 0x00080016
_SOP_INSTANCE: Final = 0x00080018
#: Under way at once where the peer agrees: enough to hide its round trips and its disk.
WINDOW: Final = 8


class Opens(Protocol):
    """A file somewhere, with a name for people."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def open(self) -> Callable[[], BinaryIO]: ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file to send.

    Attributes
    ----------
    dataset_offset
        Where in the file the data set begins.
    """

    file: Opens
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset_offset: int

    @property
    def kind(self) -> Kind:
        return self.sop_class_uid, self.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a file.

    Attributes
    ----------
    status
        The peer's; None where it was not asked.
    said
        In words.
    """

    outgoing: Outgoing
    status: int | None
    said: str

    @property
    def is_stored(self) -> bool:
        return self.status is not None and words.is_success(self.status)


class StreamSource:
    """A source of bytes behind a stream that can be sought in."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        self._stream.seek(offset)
        return self._stream.read(length)


def outgoing(file: Opens, limits: Limits | None = None) -> Outgoing:
    """Look into a file.

    Raises
    ------
    MalformedDICOM, LimitExceeded
        If it is no DICOM object.
    MissingIdentifier
        If it does not say which.
    """
    with file.open() as stream:
        part10 = parse(StreamSource(stream, file.size), limits)
        sop_class, instance = part10.dataset.text(_SOP_CLASS), part10.dataset.text(_SOP_INSTANCE)
    if not sop_class or not instance:
        raise MissingIdentifier("SOPInstanceUID" if sop_class else "SOPClassUID")
    return Outgoing(file, sop_class, instance, part10.transfer_syntax_uid, part10.dataset_offset)


def batches(files: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
    """Part files into what one association can carry: at most 128 kinds of objects, in the order given."""
    kinds: dict[Kind, int] = {}
    parted: dict[int, list[Outgoing]] = {}
    for file in files:
        number = kinds.setdefault(file.kind, len(kinds) // MAX_CONTEXTS)
        parted.setdefault(number, []).append(file)
    yield from parted.values()


async def send(peer: Peer, files: Sequence[Outgoing], timeouts: Timeouts | None = None) -> AsyncGenerator[Sent, None]:
    """Send files on one association, and yield what became of each, in the order in which they are answered.

    Parameters
    ----------
    files
        One of `batches`.

    Raises
    ------
    UpstreamError
        If the association ends: what was not yielded is not known to be stored.
    """
    contexts = [(sop_class, (syntax,)) for sop_class, syntax in dict.fromkeys(file.kind for file in files)]
    async with associate(peer, contexts, window=WINDOW, timeouts=timeouts) as user:
        waiting = iter(files)
        under_way = _begun(user, islice(waiting, _window(user)))
        try:
            while under_way:
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                under_way |= _begun(user, islice(waiting, len(done)))
                for one in done:
                    result = one.result()
                    if isinstance(result, UpstreamError):
                        raise result
                    yield result
        finally:
            await tasks.cancel(under_way)


def _begun(user: User, files: Iterable[Outgoing]) -> set[asyncio.Task[Sent | UpstreamError]]:
    return {tasks.spawn(_store(user, file), name="store") for file in files}


def _window(user: User) -> int:
    """Return how many operations may be under way: 0 agreed on is any number (PS3.7 Annex D.3.3.3)."""
    agreed = user.association.agreement.window[0] if user.association.agreement else 1
    return min(agreed or WINDOW, WINDOW)


async def _store(user: User, file: Outgoing) -> Sent | UpstreamError:
    """Send one file; that the association ended is for whoever sends the others to raise."""
    try:
        answer = await user.store(file.sop_class_uid, file.sop_instance_uid, file.transfer_syntax_uid, _data_set(file))
    except NotAcceptable:
        syntax = transfer_syntax(file.transfer_syntax_uid).keyword or file.transfer_syntax_uid
        kind = f"{file.sop_class_uid} in {syntax}"
        return Sent(
            file, None, f"the peer does not take this kind of object ({kind}): {user.requests.why_not(*file.kind)}"
        )
    except OSError as error:
        return Sent(file, None, f"it cannot be read any more: {error.strerror or error}")
    except UpstreamError as error:
        return error
    return Sent(file, answer.status, words.answer(answer))


async def _data_set(file: Outgoing) -> AsyncIterator[bytes]:
    with file.file.open() as stream:
        stream.seek(file.dataset_offset)
        while chunk := await asyncio.to_thread(stream.read, CHUNK_BYTES):
            yield chunk
