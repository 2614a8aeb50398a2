"""Change feed, manifests, deltas, renditions and hashes: what tells a node how its studies stand."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from nearframe.context import Context
from nearframe.dicom.notes import summarise
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.dicomweb.answers import REVALIDATE, etag_matches
from nearframe.errors import MalformedRequest
from nearframe.ids import Digest
from nearframe.listener import STOPPING
from nearframe.query.urgency import given_json
from nearframe.storage.ports import FeedCursor, FeedEntry, Rendition, StudyRef
from nearframe.sync.asked import digest_of, natural, study_of
from nearframe.sync.services import DELTA, FEED, HASHES, MANIFEST, RENDITIONS, SyncServices
from nearframe.wire.canonical import JSONObject
from nearframe.wire.contentcoding import choose_coding
from nearframe.wire.delta import MEDIA_TYPE as DELTA_TYPE
from nearframe.wire.document import decompress, dump_json
from nearframe.wire.hashes import HashEntry, HashList, encode_hashes
from nearframe.wire.manifest import Manifest
from nearframe.wire.manifestjson import MEDIA_TYPE as MANIFEST_TYPE
from nearframe.wire.renditions import RenditionEntry, RenditionList, encode_renditions
from nearframe.wire.via import with_via

FEED_PAGE = 500
MAX_FEED_PAGE = 5000
MAX_WAIT_S = 60  # proxies cut what is silent for longer


async def feed(services: SyncServices, context: Context, request: Request) -> Response:
    """Answer with the studies changed after a cursor, each once; hold the request while there are none."""
    page = await services.feed.page(
        context,
        _cursor(request.query_params.get("after")),
        natural(request.query_params.get("limit"), FEED_PAGE, MAX_FEED_PAGE) or 1,
        natural(request.query_params.get("wait"), 0, MAX_WAIT_S),
        request.scope.get(STOPPING),
    )
    studies: list[JSONObject] = [_feed_entry(entry) for entry in page.entries]
    body = dump_json({"next": str(page.next), "studies": studies})
    services.sent(FEED, 1, len(body))
    via = with_via((f"1.1 {name}" for name in services.followed()), services.node_name)
    return Response(body, headers={"Cache-Control": "no-store", "Via": via}, media_type="application/json")


def _feed_entry(entry: FeedEntry) -> JSONObject:
    said: JSONObject = {"seq": entry.seq, "study": entry.study_instance_uid, "instances": entry.instances}
    return said if entry.given is None else said | {"urgency": given_json(entry.given)}


async def manifest(services: SyncServices, context: Context, request: Request) -> Response:
    """Answer with the manifest of a study; its validator is its root."""
    study = study_of(context, request)
    state = await services.manifests.current(study)
    body = await services.manifests.encoded(study, state)
    return _document(services, request, MANIFEST, MANIFEST_TYPE, state.manifest.root, body)


async def delta(services: SyncServices, context: Context, request: Request) -> Response:
    """Answer with what leads from a root to the study as it is now; 304 if that is its root."""
    study = study_of(context, request)
    old_root = digest_of(request.query_params.get("from"), "from")
    body = await services.deltas.since(study, old_root)
    if body is None:
        return Response(status_code=304, headers=_validators(old_root))
    services.sent(DELTA, 1, len(body))
    return _coded(request, DELTA_TYPE, body, {"Cache-Control": "no-store"})


async def notes(services: SyncServices, context: Context, request: Request) -> Response:
    """Answer with what is odd about a study's instances, in words: each note with how many have it."""
    state = await services.manifests.current(study_of(context, request))
    found = summarise(entry.notes for entry in state.manifest.entries)
    listed: list[JSONObject] = [
        {"code": code, "meaning": meaning, "instances": count} for code, meaning, count in found
    ]
    body = dump_json({"root": state.manifest.root.hex(), "notes": listed})
    return Response(body, headers={"Cache-Control": "no-store"}, media_type="application/json")


async def renditions(services: SyncServices, context: Context, request: Request) -> Response:
    """Answer with the renditions of a study's frames that there are by now."""
    study = study_of(context, request)
    state = await services.manifests.current(study)
    body = await services.workers.run(_renditions, services, study, state.manifest)
    services.sent(RENDITIONS, 1, len(body))
    return _coded(request, "application/json", body, {"Cache-Control": "no-store"})


def _renditions(services: SyncServices, study: StudyRef, manifest: Manifest) -> bytes:
    frames = [enc for instance in manifest.entries for enc, _ in instance.frames]
    making = services.making()  # before looking: what is finished meanwhile is asked for again
    made = services.catalogue.renditions(study.tenant, frames, HTJ2KLosslessRPCL)
    entries = tuple(_entry(made.get(enc)) for enc in frames)
    return encode_renditions(RenditionList(manifest.root, HTJ2KLosslessRPCL, entries, making))


def _entry(rendition: Rendition | None) -> RenditionEntry | None:
    if rendition is None:
        return None
    return RenditionEntry(rendition.digest, rendition.length, rendition.resolution_offsets)


async def hashes(services: SyncServices, context: Context, request: Request) -> Response:
    """Answer with what a study's frames look like, of those that were looked at by now: for who may read it whole."""
    study = study_of(context, request)
    state = await services.manifests.current(study)
    body = await services.workers.run(_hashes, services, study, state.manifest)
    services.sent(HASHES, 1, len(body))
    return _coded(request, "application/json", body, {"Cache-Control": "no-store"})


def _hashes(services: SyncServices, study: StudyRef, manifest: Manifest) -> bytes:
    known = {
        (row.identity.sop_instance_uid, row.version, row.frame_index): HashEntry(row.hash, row.quality)
        for row in services.catalogue.hashes(study)
    }
    entries = tuple(
        known.get((entry.identity.sop_instance_uid, entry.version, index))
        for entry in manifest.entries
        for index in range(len(entry.frames))
    )
    return encode_hashes(HashList(manifest.root, entries))


def _document(
    services: SyncServices, request: Request, kind: str, media_type: str, root: Digest, body: bytes
) -> Response:
    """Answer with a document about a state of a study, or 304 if the caller holds it."""
    headers = _validators(root)
    if etag_matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    services.sent(kind, 1, len(body))
    return _coded(request, media_type, body, headers)


def _validators(root: Digest) -> dict[str, str]:
    return {"ETag": f'"{root.hex()}"', "Cache-Control": REVALIDATE, "Vary": "Accept-Encoding"}


def _coded(request: Request, media_type: str, body: bytes, headers: dict[str, str]) -> Response:
    """Answer with a compressed document, opened for a caller that does not take zstd."""
    if choose_coding(request.headers.get("accept-encoding"), ("zstd",)) == "zstd":
        return Response(body, headers={**headers, "Content-Encoding": "zstd"}, media_type=media_type)
    return Response(decompress(body), headers=headers, media_type=media_type)


def _cursor(text: str | None) -> FeedCursor | None:
    if text is None:
        return None
    try:
        return FeedCursor.parse(text)
    except ValueError as error:
        raise MalformedRequest(str(error)) from error
