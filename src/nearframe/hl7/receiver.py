"""One message from its bytes to its acknowledgements: read, judged, done once, remembered, answered.

::

    1. header     who sends what, by which control id          (whatever else is wrong with it)
    2. known?     the same message was accepted: the same answer, nothing is done
    3. read       character set, separators, segments
    4. do         a correction, or a change of the worklist: durable on return
    5. remember   the answer, durably
    6. answer

A crash before 4 leaves nothing. A crash between 4 and 6 lets the sender send again, and what is
done already is not done twice: a correction of what says so already is none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from nearframe import log
from nearframe.clock import Clock
from nearframe.context import Context
from nearframe.errors import BackendFailed, MalformedRequest, NearframeError, RequestError, UnacceptableMessage
from nearframe.hl7.acknowledgement import VERSIONS, Code, Header, Outcome, acknowledgements
from nearframe.hl7.er7 import Message, read_message
from nearframe.hl7.known import Senders
from nearframe.hl7.mllp import Cut, Frame
from nearframe.metrics import HL7_MESSAGES, Metrics
from nearframe.storage.catalogue.hl7messages import AnsweredMessage, HL7Messages

_log = log.logger(__name__)
_MAX_CONTROL_ID_CHARS: Final = 199  # the longest that a version allows
_MAX_SENDER_CHARS: Final = 200
_EVENT: Final = re.compile(r"[A-Z0-9]{3}\^[A-Z0-9]{3}")

#: Does what a message says, durably, and returns in words what that was. The last argument is the reason to record.
Handler: TypeAlias = Callable[[Context, Message, str], str]


@dataclass(frozen=True, slots=True)
class Event:
    """A message type and event that is served.

    Attributes
    ----------
    right
        What a sender has to be allowed for it.
    """

    handle: Handler
    right: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What messages have to say of themselves to be taken.

    Attributes
    ----------
    processing_id
        ``P`` production, ``T`` training, ``D`` debugging.
    charset
        Of messages that name none.
    """

    senders: Senders
    processing_id: str
    charset: str


class Receiver:
    """Takes messages. Sync: one thread calls, so that messages take effect in the order in which they came.

    Parameters
    ----------
    events
        By type and event, as in ``ADT^A40``.
    """

    def __init__(
        self,
        events: Mapping[str, Event],
        known: HL7Messages,
        expected: Expected,
        tenant: str,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._events = events
        self._known = known
        self._expected = expected
        self._tenant = tenant
        self._clock = clock
        self._metrics = metrics

    def receive(self, frame: Frame, address: str) -> list[bytes]:
        """Do what a message says, and return what is to be sent for it."""
        header = Header.of(frame.data)
        if header.is_acknowledgement:
            _log.warning("hl7_acknowledgement_came")
            return []
        try:
            outcome = self._take(frame, header, address)
        except UnacceptableMessage as error:
            outcome = Outcome.of_error(error)
        except NearframeError as error:
            outcome = _of_failure(error)
        except Exception as error:  # noqa: BLE001 - a message ends here: its sender is answered, whatever failed
            _log.error("hl7_message_failed", error=error)
            outcome = _of_failure(BackendFailed("the archive failed; its log says how"))
        event = "^".join(header.event[:2])
        self._metrics.add(HL7_MESSAGES, event=event if event in self._events else "other", code=outcome.code.value)
        tell = _log.info if outcome.code is Code.ACCEPTED else _log.warning
        kind = event.replace("^", "_") if _EVENT.fullmatch(event) else ""  # the log blanks carets, as those of names
        tell("hl7_message", type=kind, code=outcome.code.value, says=outcome.words)
        return list(acknowledgements(header, outcome, self._clock.now()))

    def _take(self, frame: Frame, header: Header, address: str) -> Outcome:
        if frame.cut is not None:
            what = "is not whole" if frame.cut is Cut.NOT_ENDED else "is longer than hl7_max_message_bytes"
            raise UnacceptableMessage(207, f"the message {what}: {frame.cut.value}")
        message = self._read(frame.data, header)
        header = _with_event(header, message)
        event = self._event(header)
        self._expected.senders.check(header, address, event.right)
        sender = _sender(header)
        digest = _digest(message)
        before = self._known.find(self._tenant, sender, header.control_id)
        if before is not None and before.digest == digest and before.code == Code.ACCEPTED:
            return Outcome(Code.ACCEPTED, before.words)
        outcome = self._do(event, message, sender, header)
        self._known.note(
            self._tenant,
            AnsweredMessage(
                sender, header.control_id, "^".join(header.event[:2]), outcome.code.value, outcome.words, digest,
                self._clock.now(),
            ),
        )  # fmt: skip
        return outcome

    def _read(self, data: bytes, header: Header) -> Message:
        message = read_message(data, self._expected.charset)
        if not 0 < len(header.control_id) <= _MAX_CONTROL_ID_CHARS or not header.control_id.isprintable():
            raise message.header.wrong(
                101, f"a message has a control id of 1 to {_MAX_CONTROL_ID_CHARS} characters", 10
            )
        # An empty one is left out by some senders; what is read is in every version.
        if header.version and not VERSIONS.fullmatch(header.version):
            raise message.header.wrong(203, "versions 2.1 to 2.9 are read", 12)
        if header.processing_id != self._expected.processing_id:
            expected = self._expected.processing_id
            raise message.header.wrong(202, f"messages of processing id {expected} are taken here", 11)
        return message

    def _event(self, header: Header) -> Event:
        event = self._events.get("^".join(header.event[:2]))
        if event is not None:
            return event
        if any(known.startswith(f"{header.event[0]}^") for known in self._events):
            raise UnacceptableMessage(201, "this event is not taken here", "MSH", 9)
        raise UnacceptableMessage(200, "messages of this type are not taken here", "MSH", 9)

    def _do(self, event: Event, message: Message, sender: str, header: Header) -> Outcome:
        ctx = Context(principal=f"hl7 {sender}", tenant=self._tenant)
        reason = f"{'^'.join(header.event[:2])}, message {header.control_id}"
        try:
            return Outcome(Code.ACCEPTED, event.handle(ctx, message, reason))
        except UnacceptableMessage as error:
            return Outcome.of_error(error)
        except NearframeError as error:
            return _of_failure(error)


def _with_event(header: Header, message: Message) -> Header:
    """Return a header that names its event: systems of before version 2.3 may leave that to EVN-1."""
    if len(header.event) > 1 and header.event[1]:
        return header
    named = next(message.every("EVN"), None)
    return header if named is None else replace(header, event=(header.event[0], named.text(1)))


def _of_failure(error: NearframeError) -> Outcome:
    """Return what a failure of ours, or what the archive refuses, is to the sender."""
    if isinstance(error, RequestError):
        condition = 102 if isinstance(error, MalformedRequest) else 204
        return Outcome(Code.ERROR, str(error), UnacceptableMessage(condition, str(error), "PID"))
    return Outcome.of_error(UnacceptableMessage(207, str(error)))


def _sender(header: Header) -> str:
    names = "|".join(components[0] for components in header.sender)
    return "".join(c if c.isprintable() else "?" for c in names[:_MAX_SENDER_CHARS])


def _digest(message: Message) -> bytes:
    """Return what tells a message from another of its control id: everything but when it was sent (MSH-7)."""
    found = hashlib.sha256()
    for segment in message.segments:
        fields = [field for number, field in enumerate(segment.fields) if segment.name != "MSH" or number != 7]
        found.update("|".join(fields).encode())
        found.update(b"\r")
    return found.digest()
