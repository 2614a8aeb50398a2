"""Frames that nobody waits for yet, by recipe: fewer bytes, more work at both ends.

The upstream is told how quick the line is and which bases are held here, and chooses
(`delta.choose`); the recipe comes in pieces, as contents do. What it makes has the digest
that was asked for, or it counts as refused and the frame is asked for as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from nearframe import log
from nearframe.cache.flight import Flight
from nearframe.clock import Clock
from nearframe.delta.apply import apply
from nearframe.delta.frame import FrameForm
from nearframe.delta.rates import Rates
from nearframe.edge.bases import Bases, HeldBases
from nearframe.edge.making import FrameMaker
from nearframe.edge.studyindex import Content, StudyIndexes
from nearframe.edge.turns import Direction, User
from nearframe.edge.upstream import Upstreams
from nearframe.errors import IntegrityError, NotFound, RequestError, UpstreamError
from nearframe.metrics import RECIPES_FOLLOWED, RECIPES_REFUSED, RECIPES_SAVED_BYTES, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentStore, StudyRef
from nearframe.units import KIB, MIB
from nearframe.wire.framerecipe import FrameRecipe
from nearframe.wire.recipeask import encode_ask, quantised

#: What is shorter costs more to ask for by itself than a recipe saves.
MIN_BYTES: Final = 16 * KIB
#: What is longer would be in memory several times.
MAX_BYTES: Final = 16 * MIB
#: An upstream that sends no recipes is asked again after this.
ASK_AGAIN_S: Final = 60.0
#: A rendition without a base comes by recipe if the line takes so many times as long for it as this end's work does:
#: a tenth fewer bytes are worth having while cores are idle, and delay everybody while they are not.
_LINE_BOUND: Final = 4
#: A recipe is longer than its frame by its head, if there is no shorter one.
_HEAD_BYTES: Final = 4 * KIB

_log = log.logger(__name__)


class RecipeFetch:
    """The `fetch.ByRecipe` of an edge. For one event loop.

    Parameters
    ----------
    cpu
        Threads for codecs.
    allowed
        Returns whether frames of a study may come as recipes.
    """

    def __init__(
        self,
        upstream: Upstreams,
        indexes: StudyIndexes,
        bases: HeldBases,
        store: ContentStore,
        maker: FrameMaker,
        cpu: Workers,
        metrics: Metrics,
        clock: Clock,
        allowed: Callable[[StudyRef], Awaitable[bool]],
    ) -> None:
        self._upstream = upstream
        self._indexes = indexes
        self._bases = bases
        self._store = store
        self._maker = maker
        self._cpu = cpu
        self._metrics = metrics
        self._clock = clock
        self._allowed = allowed
        self._ask_at = 0.0

    async def bring(self, study: StudyRef, content: Content, flight: Flight) -> bytes | None:
        """Return a content made here, or None if it has to come as it is.

        Parameters
        ----------
        flight
            Who joins it makes the recipe more urgent.
        """
        index = await self._indexes.of(study)
        twins = index.twins(content.digest)
        form = index.form(content.digest) if twins is None else twins.form
        if form is None or content.length < MIN_BYTES or form.length > MAX_BYTES:
            return None
        if self._clock.monotonic() < self._ask_at or not await self._allowed(study):
            return None
        try:
            bases = await self._bases.of(study)
            if not bases.proposals(form.enc) and not self._is_worth_recoding(content, form):
                return None
            made, sent_bytes, operation = await self._by_recipe(study, form, bases, flight)
        except UpstreamError as error:  # lost connections are gone on with on the plain way
            _log.debug("recipe_not_fetched", error=error)
            return None
        except NotFound:
            self._ask_at = self._clock.monotonic() + ASK_AGAIN_S
            return None
        if made is not None and twins is not None and content.digest != form.enc:
            made = await self._maker.make(twins, content.digest, made)
        if made is None:
            return None
        bases.came(form.enc)
        self._metrics.add(RECIPES_FOLLOWED, operation=operation)
        self._metrics.add(RECIPES_SAVED_BYTES, max(0, content.length - sent_bytes), operation=operation)
        return made

    def _is_worth_recoding(self, content: Content, form: FrameForm) -> bool:
        """Return whether a frame is to come in another codec than its rendition, which is made of it here."""
        if content.digest == form.enc:
            return True
        rates = Rates(line=self._upstream.line.rate_bytes_s(Direction.DOWN))
        work_s = form.length / rates.jpeg_ls + form.length / rates.htj2k
        return content.length / rates.line >= _LINE_BOUND * work_s

    async def _by_recipe(
        self, study: StudyRef, form: FrameForm, bases: Bases, flight: Flight
    ) -> tuple[bytes | None, int, str]:
        proposals = bases.proposals(form.enc)
        line = quantised(self._upstream.line.rate_bytes_s(Direction.DOWN))
        data = await self._fetched(study, form, encode_ask(line, proposals), flight)
        operation = "none"
        try:
            recipe = FrameRecipe.decode(data)
            operation = recipe.operation.name.lower()
            held = bases.forms(proposals)
            made = await self._cpu.run(apply, recipe, form, held, partial(bases.read, self._store))
        except (IntegrityError, NotFound, RequestError) as error:
            self._metrics.add(RECIPES_REFUSED, operation=operation, reason=_reason(error))
            _log.warning("recipe_refused", operation=operation, error=error)
            return None, len(data), operation
        return made, len(data), operation

    async def _fetched(self, study: StudyRef, form: FrameForm, ask: str, flight: Flight) -> bytes:
        """Return the bytes of a recipe, piece by piece as its flight's urgency says."""
        data, total, line = bytearray(), MIN_BYTES, self._upstream.line
        try:
            while len(data) < total:
                size = line.piece_bytes(flight.urgency)
                stop = None if size is None else len(data) + size
                transfer = line.transfer(User.READ_AHEAD, flight.urgency, size or total - len(data))
                flight.raised = transfer.raise_to
                async with (
                    transfer.turn(),
                    self._upstream.recipe(study, form.enc, ask, transfer, len(data), stop) as (total, chunks),
                ):
                    if total > form.length + _HEAD_BYTES:
                        raise UpstreamError("the upstream sends a recipe that is longer than its frame")
                    came = b"".join([chunk async for chunk in chunks])
                if not came:
                    raise UpstreamError("the upstream's answer was cut")
                data += came
        finally:
            flight.raised = None
        return bytes(data)


def _reason(error: Exception) -> str:
    if isinstance(error, IntegrityError):
        return "digest"
    return "base" if isinstance(error, NotFound) else "malformed"
