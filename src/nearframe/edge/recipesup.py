"""Frames that were taken in here, sent to the upstream as recipes: coded where they were not, packed where JPEG.

The recipe is chosen for the line as it was measured, while the one before is on its way, and
proved before it is sent; the upstream proves it once more. What it refuses is sent as it is.
Bases are not used: what the upstream holds already it does not lack, under whatever name it
came.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial

from nearframe import tasks
from nearframe.context import Urgency
from nearframe.delta import jxl
from nearframe.delta.choose import choose
from nearframe.delta.frame import FrameForm
from nearframe.delta.rates import Rates
from nearframe.delta.sent import encode_sent
from nearframe.edge.byrecipe import MAX_BYTES, MIN_BYTES
from nearframe.edge.line import Line
from nearframe.edge.packing import Content, Packer, Picture
from nearframe.edge.turns import Direction
from nearframe.edge.upstream import Upstream
from nearframe.errors import IntegrityError, NotFound
from nearframe.ids import Digest
from nearframe.metrics import FORWARDED_BYTES, RECIPES_SENT, RECIPES_SENT_SAVED_BYTES, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.wire import contentstream
from nearframe.wire.framerecipe import Operation
from nearframe.wire.recipeask import quantised


class RecipesUp:
    """The `forward.SendsRecipes` of an edge. For one event loop.

    Parameters
    ----------
    cpu
        Threads for codecs.
    allowed
        Returns whether frames of a study may go as recipes.
    """

    def __init__(
        self,
        packer: Packer,
        line: Line,
        cpu: Workers,
        metrics: Metrics,
        allowed: Callable[[StudyRef], Awaitable[bool]],
    ) -> None:
        self._packer = packer
        self._line = line
        self._cpu = cpu
        self._metrics = metrics
        self._allowed = allowed

    async def send(
        self,
        study: StudyRef,
        upstream: Upstream,
        parcel: Sequence[Content],
        pictures: Mapping[Digest, Picture],
        urgency: Urgency,
    ) -> list[Content]:
        """Send what is shorter as a recipe; return what has to be sent as it is."""
        forms = {
            one.digest: FrameForm(one.digest, one.length, *pictures[one.digest])
            for one in parcel
            if one.kind is ContentKind.FRAME and one.digest in pictures and MIN_BYTES <= one.length <= MAX_BYTES
        }
        worth = [form for form in forms.values() if form.is_native or jxl.is_jpeg(form)]
        if not worth or not await self._allowed(study):
            return list(parcel)
        sent: dict[Digest, tuple[str, int]] = {}
        stream = self._stream(study, worth, sent)
        refused = await upstream.send(study, ContentKind.FRAME, stream, urgency, by_recipe=True)
        for digest in sent.keys() - refused:
            operation, saved_bytes = sent[digest]
            self._metrics.add(RECIPES_SENT, operation=operation)
            self._metrics.add(RECIPES_SENT_SAVED_BYTES, saved_bytes, operation=operation)
            self._metrics.add(FORWARDED_BYTES, forms[digest].length - saved_bytes, kind="frame")
        return [one for one in parcel if one.digest not in sent or one.digest in refused]

    async def _stream(
        self, study: StudyRef, forms: Sequence[FrameForm], sent: dict[Digest, tuple[str, int]]
    ) -> AsyncIterator[bytes]:
        """Yield the stream of recipes; notes in `sent` the operation of each, and what it saves."""
        upcoming = tasks.spawn(self._chosen(study, forms[0]), name="choose recipe")
        try:
            for at, form in enumerate(forms, 1):
                operation, data = await upcoming
                if at < len(forms):
                    upcoming = tasks.spawn(self._chosen(study, forms[at]), name="choose recipe")
                if operation is not Operation.PLAIN:
                    sent[form.enc] = operation.name.lower(), form.length - len(data)
                    yield contentstream.opening(form.enc, len(data))
                    yield data
        finally:
            await tasks.cancel([upcoming])
        yield contentstream.ending(len(sent))

    async def _chosen(self, study: StudyRef, form: FrameForm) -> tuple[Operation, bytes]:
        rates = Rates(line=quantised(self._line.rate_bytes_s(Direction.UP)), cores=1)

        def chosen() -> tuple[Operation, bytes]:
            try:
                recipe = choose(form, (), partial(self._packer.read, study), rates).recipe
            except (NotFound, IntegrityError):  # damaged: found out again where it is sent as it is
                return Operation.PLAIN, b""
            if recipe.operation is Operation.PLAIN:
                return recipe.operation, b""
            return recipe.operation, encode_sent(form, recipe)

        return await self._cpu.run(chosen)
