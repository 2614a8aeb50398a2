"""The user's side of C-GET: what is asked for comes back on the same association, into a folder."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final

from nearframe.dicom.filemeta import file_meta
from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.association import Message
from nearframe.dimse.channel import Timeouts
from nearframe.dimse.command import CommandField
from nearframe.dimse.items import Role
from nearframe.dimse.negotiation import MAX_CONTEXTS
from nearframe.dimse.scp import Rest, Session
from nearframe.dimse.scu import UNCOMPRESSED, Peer, associate
from nearframe.dimse.scu_query import Level, Retrieved, retrieve
from nearframe.dimse.status import Status

#: What archives hold most of (PS3.4 Table B.5-1), where a peer does not say what a study holds. Below
#: 1.2.840.10008.5.1.4.1.1: a context for each uncompressed, and one as it is stored.
_USUAL: Final = (
    "1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "2", "2.1", "2.2", "3.1", "4", "4.1", "4.2", "4.3", "6.1", "6.2",
    "7", "7.1", "7.2", "7.3", "7.4", "9.1.1", "9.1.2", "9.1.3", "11.1", "11.2", "12.1", "12.1.1", "12.2",
    "12.2.1", "13.1.1", "13.1.2", "13.1.3", "20", "30", "66", "66.1", "66.4", "66.5", "67", "77.1.1", "77.1.1.1",
    "77.1.2", "77.1.4", "77.1.4.1", "77.1.5.1", "77.1.5.4", "77.1.6", "88.11", "88.22", "88.33", "88.59", "88.67",
    "104.1", "104.2", "104.3", "128", "128.1", "130", "481.1", "481.2", "481.3", "481.5",
)  # fmt: skip
#: Not all that we can name: DCMTK gives the association up over a context with more than fifty.
_COMPRESSED: Final = (
    *(f"1.2.840.10008.1.2.4.{suffix}" for suffix in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)),
    "1.2.840.10008.1.2.5",
)
#: In which objects come where the peer says what there is: one context for each, so that each comes as it is stored.
_SYNTAXES: Final = (*UNCOMPRESSED, *_COMPRESSED)


class Folder:
    """Takes objects in as Part 10 files, numbered: no name is made from what a peer says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = 0
        path.mkdir(parents=True, exist_ok=True)
        self._numbers = count(1)

    async def store(self, session: Session, message: Message) -> Rest:
        """Receive an object (C-STORE)."""
        command = message.command
        if command.kind is not CommandField.C_STORE_RQ:
            return session.answer(message, Status.UNRECOGNIZED_OPERATION)
        place = None
        try:
            place, out = self._begin()
            with out:
                out.write(file_meta(command.sop_class_uid, command.sop_instance_uid, message.context.transfer_syntax))
                async for part in message.data():
                    out.write(part)
            place = place.rename(place.with_suffix(".dcm"))
        except OSError as error:
            _drop(place)
            return session.answer(message, Status.OUT_OF_RESOURCES, error.strerror or "it cannot be written")
        except BaseException:
            _drop(place)
            raise
        self.files += 1
        return session.answer(message, Status.SUCCESS)

    def _begin(self) -> tuple[Path, BinaryIO]:
        for number in self._numbers:
            if not (self.path / f"{number:05}.dcm").exists():
                place = self.path / f"{number:05}.part"
                return place, place.open("wb")
        raise AssertionError("numbers do not end")


async def get(
    peer: Peer,
    level: Level,
    identifier: DICOMJSON,
    folder: Folder,
    sop_classes: Sequence[str] = (),
    timeouts: Timeouts | None = None,
) -> AsyncGenerator[Retrieved, None]:
    """Retrieve into a folder, and yield how far it is.

    Parameters
    ----------
    sop_classes
        Of what is to come, if that is known.
    """
    storage = contexts_for(sop_classes)
    contexts = [(level.get_model, UNCOMPRESSED), *storage]
    roles = [Role(uid, is_scu=False, is_scp=True) for uid in dict.fromkeys(uid for uid, _ in storage)]
    async with (
        associate(peer, contexts, roles=roles, timeouts=timeouts, on_request=folder.store) as user,
        aclosing(retrieve(user.requests, level.get_model, identifier)) as steps,
    ):
        async for step in steps:
            yield step


def contexts_for(sop_classes: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Return contexts in which objects of these classes can come, or the usual ones; one is left for C-GET."""
    known = list(dict.fromkeys(sop_classes))
    if known and len(known) * len(_SYNTAXES) < MAX_CONTEXTS:
        return [(uid, (syntax,)) for uid in known for syntax in _SYNTAXES]
    wanted = (known or [f"1.2.840.10008.5.1.4.1.1.{suffix}" for suffix in _USUAL])[: (MAX_CONTEXTS - 1) // 2]
    return [(uid, syntaxes) for uid in wanted for syntaxes in (UNCOMPRESSED, _COMPRESSED)]


def _drop(place: Path | None) -> None:
    if place is not None:
        place.unlink(missing_ok=True)
