"""Sending what is stored here to a peer by C-STORE: in which contexts, and in which transfer syntax.

An instance goes out as it is stored where the receiver takes that, byte for byte; else decoded, for
one that takes only Little Endian. Nothing lossy is ever encoded another time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from nearframe.context import Context
from nearframe.dimse import negotiation
from nearframe.dimse.command import Command, Field, Value
from nearframe.dimse.requests import Requests
from nearframe.dimse.scu import UNCOMPRESSED
from nearframe.errors import NotAcceptable
from nearframe.query.retrieve_instances import InstanceService
from nearframe.storage.ports import InstanceRecord

#: As many instances fit one association, whatever they are: each may need three contexts.
ALWAYS_FIT = negotiation.MAX_CONTEXTS // (1 + len(UNCOMPRESSED))


def proposals(records: Iterable[InstanceRecord]) -> list[tuple[str, tuple[str, ...]]]:
    """Return contexts for sending: each kind of object as it is stored, and each uncompressed."""
    return list(dict.fromkeys(context for record in records for context in _contexts_of(record)))


def batches(records: Iterable[InstanceRecord]) -> Iterator[list[InstanceRecord]]:
    """Part instances into what one association can carry, in the order given."""
    batch: list[InstanceRecord] = []
    contexts: set[tuple[str, tuple[str, ...]]] = set()
    for record in records:
        more = contexts.union(_contexts_of(record))
        if len(more) > negotiation.MAX_CONTEXTS:
            yield batch
            batch, more = [], set(_contexts_of(record))
        batch.append(record)
        contexts = more
    if batch:
        yield batch


def _contexts_of(record: InstanceRecord) -> list[tuple[str, tuple[str, ...]]]:
    return [(record.identity.sop_class_uid, (syntax,)) for syntax in (record.transfer_syntax_uid, *UNCOMPRESSED)]


async def send_stored(
    requests: Requests,
    instances: InstanceService,
    context: Context,
    record: InstanceRecord,
    others: Mapping[Field, Value],
) -> Command:
    """Send an instance, and return the answer.

    Raises
    ------
    NotAcceptable
        If the receiver takes it in no transfer syntax that it can be given in.
    """
    accepted = _context_for(requests, instances, record)
    body = await instances.data_set(context, record, accepted.transfer_syntax)
    return await requests.store(accepted, record.identity.sop_instance_uid, body.open(), dict(others))


def _context_for(requests: Requests, instances: InstanceService, record: InstanceRecord) -> negotiation.Context:
    if not requests.association.may_ask(record.identity.sop_class_uid):
        raise NotAcceptable("the receiver did not ask to be provider (SCP) of this class")
    contexts = {c.transfer_syntax: c for c in requests.association.contexts_for(record.identity.sop_class_uid)}
    for syntax in (record.transfer_syntax_uid, *instances.makeable_for_peers(record)):
        if syntax in contexts:
            return contexts[syntax]
    raise NotAcceptable("the receiver takes no such object, or in no transfer syntax that it can be given in")
