"""Chooses how frames are sent to a node that holds others, and remembers it while they are fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

from nearframe.cache.singleflight import SingleFlight
from nearframe.cache.sizedlru import SizedLRU
from nearframe.context import Context
from nearframe.delta.apply import make
from nearframe.delta.choose import OPERATIONS, choose
from nearframe.delta.evidence import Candidate, Evidence, known_frames
from nearframe.delta.frame import FrameForm
from nearframe.delta.rates import Rates
from nearframe.delta.sent import decode_sent
from nearframe.errors import LimitExceeded, MalformedRequest, NotFound
from nearframe.ids import Digest, sha256
from nearframe.query.contents import ContentReader
from nearframe.query.manifests import Manifests
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentStore, StudyRef
from nearframe.units import MIB
from nearframe.wire.framerecipe import Operation
from nearframe.wire.manifest import Manifest
from nearframe.wire.recipeask import Proposal

#: Longer frames are asked for as they are: choosing holds several copies of one in memory.
MAX_FRAME_BYTES: Final = 64 * MIB
_KEPT_BYTES: Final = 64 * MIB
_FORMS_KEPT: Final = 200_000  # some 300 bytes each

_Forms: TypeAlias = Mapping[Digest, FrameForm]


class RecipeBook:
    """Chooses recipes, each once for all who wait for it. For one event loop.

    Parameters
    ----------
    cpu
        Threads for codecs.
    """

    def __init__(self, contents: ContentReader, store: ContentStore, manifests: Manifests, cpu: Workers) -> None:
        self._contents = contents
        self._store = store
        self._manifests = manifests
        self._cpu = cpu
        self._forms: SizedLRU[tuple[StudyRef, Digest], _Forms] = SizedLRU(_FORMS_KEPT)
        self._kept: SizedLRU[Digest, bytes] = SizedLRU(_KEPT_BYTES)
        self._flights: SingleFlight[Digest, bytes] = SingleFlight("choose recipe")

    async def of(
        self, context: Context, study: StudyRef, enc: Digest, line_bytes_s: int, proposals: Sequence[Proposal]
    ) -> bytes:
        """Return the recipe by which a frame arrives first.

        Raises
        ------
        NotFound
            If the study has no such frame, or it is no picture, or too large.
        """
        form = (await self._forms_of(study)).get(enc)
        if form is None or form.pixel is None or form.length > MAX_FRAME_BYTES:
            raise NotFound("frame that can be sent by recipe")
        key = sha256(repr((study, enc, line_bytes_s, proposals)).encode())
        held = self._kept.get(key)
        if held is not None:
            return held
        return await self._flights.run(key, partial(self._choose, context, study, form, line_bytes_s, proposals, key))

    async def _choose(
        self,
        context: Context,
        study: StudyRef,
        form: FrameForm,
        line_bytes_s: int,
        proposals: Sequence[Proposal],
        key: Digest,
    ) -> bytes:
        places: dict[Digest, StudyRef] = {}
        candidates = []
        for proposal in proposals:
            candidate = await self._candidate(context, proposal)
            if candidate is not None:
                candidates.append(candidate)
                places |= dict.fromkeys(proposal.encs, StudyRef(study.tenant, proposal.study_instance_uid))
        frame = await self._contents.read(context, study, form.enc)

        def read(enc: Digest) -> bytes:
            return frame if enc == form.enc else self._store.read(places[enc], enc)

        chosen = await self._cpu.run(choose, form, candidates, read, Rates(line=line_bytes_s, cores=1))
        data = chosen.recipe.encode()
        self._kept.put(key, data, len(data))
        return data

    async def follow(self, enc: Digest, sent: bytes) -> tuple[Operation, bytes]:
        """Return the operation and the frame that `delta.sent` describes, proved.

        Raises
        ------
        IntegrityError, RequestError
            If none with this digest comes out of it.
        """
        form, recipe = await self._cpu.run(decode_sent, enc, sent)
        if form.length > MAX_FRAME_BYTES:
            raise LimitExceeded("bytes of a frame that is sent as a recipe", MAX_FRAME_BYTES, form.length)
        return recipe.operation, await self._cpu.run(make, recipe, form, ())

    async def _candidate(self, context: Context, proposal: Proposal) -> Candidate | None:
        """Return what is proposed if the receiver may read it, and it is known here."""
        if proposal.evidence not in OPERATIONS:
            raise MalformedRequest("bases are proposed for a reason that this release does not know")
        uid = proposal.study_instance_uid
        if not context.scope.admits(uid):
            return None
        try:
            forms = await self._forms_of(StudyRef(context.tenant, uid))
        except NotFound:
            return None
        found = tuple(forms[enc] for enc in proposal.encs if enc in forms)
        return Candidate(Evidence(proposal.evidence), found) if len(found) == len(proposal.encs) else None

    async def _forms_of(self, study: StudyRef) -> _Forms:
        manifest = (await self._manifests.current(study)).manifest
        key = study, manifest.root
        forms = self._forms.get(key)
        if forms is None:
            forms = await self._cpu.run(_forms, manifest)
            self._forms.put(key, forms, 1 + len(forms))
        return forms


def _forms(manifest: Manifest) -> _Forms:
    return {frame.form.enc: frame.form for entry in manifest.entries for frame in known_frames(entry)}
