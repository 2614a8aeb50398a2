"""What a client is sent, decided before the first byte: see `sync.stream`.

Nothing here reads a frame. The same request to the same state of the study, with the same
renditions made, gives the same plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from nearframe.dicom.rebuild import is_rebuildable
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.errors import MalformedRequest
from nearframe.ids import Digest
from nearframe.query.manifests import pixel_description
from nearframe.storage.ports import Catalogue, Rendition
from nearframe.sync.order import sending_order
from nearframe.units import MIB
from nearframe.wire.manifest import Manifest
from nearframe.wire.studycontents import StudyContent, contents_of, unpack_bits
from nearframe.wire.syncrequest import Part, SyncRequest

#: Contents are read, and sent, in parts of at most this size.
PART_BYTES: Final = 4 * MIB


class Job(NamedTuple):
    """Bytes ``start:stop`` of a form of a content, to be read and sent.

    Attributes
    ----------
    length
        Of the whole form, in bytes.
    rendition
        The form, if it is not the content itself.
    """

    number: int
    digest: Digest
    start: int
    stop: int
    length: int
    rendition: Rendition | None = None

    @property
    def size(self) -> int:
        return self.stop - self.start

    @property
    def is_last(self) -> bool:
        """True if the form is whole after it."""
        return self.stop == self.length


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send.

    Attributes
    ----------
    headers
        Indices of the instances whose headers go, in the manifest's order.
    jobs
        In the order in which they go.
    """

    manifest: Manifest
    contents: Sequence[StudyContent]
    headers: Sequence[int]
    jobs: Sequence[Job]


class Held:
    """What a client has.

    Parameters
    ----------
    old
        The state it names, if that is known here.
    """

    def __init__(self, request: SyncRequest, old: Manifest | None) -> None:
        self._digests: set[Digest] = set()
        self.parts: dict[Digest, Part] = {}
        if old is None:
            return
        contents = contents_of(old)
        without = unpack_bits(request.lacking_headers, len(old.entries))
        self._digests.update(entry.hdr for index, entry in enumerate(old.entries) if index not in without)
        without = unpack_bits(request.lacking_contents, len(contents))
        self._digests.update(content.digest for number, content in enumerate(contents) if number not in without)
        for part in request.parts:
            if part.number >= len(contents):
                raise MalformedRequest("a part is of a content that the state does not have")
            self.parts[contents[part.number].digest] = part

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._digests

    def bytes_of(self, content: Digest, form: Digest) -> int:
        """Return how many bytes of a form of a content the client has."""
        part = self.parts.get(content)
        return part.length if part is not None and part.is_of(form) else 0


def make_plan(
    catalogue: Catalogue, tenant: str, manifest: Manifest, old: Manifest | None, request: SyncRequest, *, headers: bool
) -> Plan:
    """Decide what is sent.

    Parameters
    ----------
    old
        The state the client names, if that is known here.
    headers
        False if the client makes every header itself, from a delta.

    Raises
    ------
    MalformedRequest
        If the client says that it holds what cannot be.
    """
    held = Held(request, old)
    contents = contents_of(manifest)
    lacking = [number for number in sending_order(manifest, contents) if contents[number].digest not in held]
    renditions: Mapping[Digest, Rendition] = {}
    if request.levels is not None:
        pictures = [contents[number].digest for number in lacking if _is_rebuildable(manifest, contents[number])]
        renditions = catalogue.renditions(tenant, pictures, HTJ2KLosslessRPCL)
    return Plan(
        manifest,
        contents,
        [index for index, entry in enumerate(manifest.entries) if headers and entry.hdr not in held],
        list(_jobs(contents, lacking, renditions, held, request.levels or 0)),
    )


def _is_rebuildable(manifest: Manifest, content: StudyContent) -> bool:
    entry = manifest.entries[content.entry]
    pixel = pixel_description(entry)
    return (
        content.frame_index is not None
        and pixel is not None
        and is_rebuildable(entry.transfer_syntax_uid, pixel, content.length)
    )


def _jobs(
    contents: Sequence[StudyContent],
    lacking: Sequence[int],
    renditions: Mapping[Digest, Rendition],
    held: Held,
    levels: int,
) -> Iterator[Job]:
    begun: dict[int, int] = {}
    for number in lacking:
        rendition = renditions.get(contents[number].digest)
        if rendition is None or not levels or not rendition.resolution_offsets:
            continue
        offsets = rendition.resolution_offsets
        start = held.bytes_of(rendition.source, rendition.digest)
        stop = offsets[min(levels, len(offsets)) - 1]
        if start < stop:
            yield from parts(Job(number, rendition.digest, start, stop, rendition.length, rendition))
            begun[number] = stop
    for number in lacking:
        content = contents[number]
        rendition = renditions.get(content.digest)
        digest, length = (content.digest, content.length) if rendition is None else (rendition.digest, rendition.length)
        start = held.bytes_of(content.digest, digest)
        if start >= length:  # whoever holds all of a form and says it lacks the content, does not trust those bytes
            start = 0
        yield from parts(Job(number, digest, max(begun.get(number, 0), start), length, length, rendition))


def whole(number: int, content: StudyContent) -> list[Job]:
    """Return the jobs of a content as it is."""
    return list(parts(Job(number, content.digest, 0, content.length, content.length)))


def parts(job: Job) -> Iterator[Job]:
    """Cut a job into parts of bounded size; a content without bytes is one all the same."""
    if job.length == 0:
        yield job
    for start in range(job.start, job.stop, PART_BYTES):
        yield job._replace(start=start, stop=min(start + PART_BYTES, job.stop))
