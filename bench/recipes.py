"""What frame recipes save, workload by workload: ``python -m bench.recipes [DATA] [--megabits 10] [--json]``.

A receiver holds a first set of frames; a second set is sent to it, each frame by the recipe
that `nearframe.delta` chooses for a line of that rate. Every frame is made at the receiver,
from what it holds and nothing else, and compared. Columns: frames; their bytes as stored;
coded one by one as HTJ2K (lossy and compressed ones as they are); by recipe, recipe heads
included; the share of the HTJ2K column that is saved; milliseconds of one core a frame to
choose (with the sender's proof) and to make; operations, by number of frames.

A row marked * holds frames made here from real ones: its name says how. Then come the
pairs that recipes are never tried for, measured all the same: what they would have cost.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench import recipesets
from bench.recipesets import LOSSES, Loss, Workload
from bench.studies import studies_folder
from nearframe.delta import coded, residual
from nearframe.delta.apply import apply
from nearframe.delta.choose import choose
from nearframe.delta.evidence import BaseIndex, KnownFrame
from nearframe.delta.frame import Frame, FrameForm
from nearframe.delta.rates import Rates
from nearframe.dicom.encoders import encode_htj2k
from nearframe.errors import NotFound
from nearframe.ids import Digest
from nearframe.perceptual.candidates import PatientIndex
from nearframe.wire.framerecipe import FrameRecipe


@dataclass(slots=True)
class Row:
    """One line of the table."""

    name: str
    made_here: bool
    frames: int = 0
    stored: int = 0
    htj2k: int = 0
    recipes: int = 0
    choose_ms: float = 0.0
    make_ms: float = 0.0
    operations: dict[str, int] = field(default_factory=dict)

    @property
    def saved(self) -> float:
        return 1 - self.recipes / self.htj2k


class Receiver:
    """Holds frames by digest; knows of nothing else."""

    def __init__(self, held: Iterable[KnownFrame], store: dict[Digest, bytes]) -> None:
        self.frames = {one.form.enc: store[one.form.enc] for one in held}
        self.forms: dict[Digest, FrameForm] = {one.form.enc: one.form for one in held}

    def read(self, enc: Digest) -> bytes:
        if enc not in self.frames:
            raise NotFound("frame")
        return self.frames[enc]

    def make(self, recipe: bytes, form: FrameForm) -> None:
        self.frames[form.enc] = apply(FrameRecipe.decode(recipe), form, self.forms, self.read)
        self.forms[form.enc] = form


def measure(work: Workload, rates: Rates) -> Row:
    """Send a workload and return its row. Fails if a frame comes out as anything but itself."""
    row = Row(work.name, work.made_here)
    receiver = Receiver(work.held, work.store)
    index = BaseIndex(work.held)
    likeness = PatientIndex(recipesets.hashed(work, work.held)) if work.by_likeness else None
    hashes = {one.enc: one for one in recipesets.hashed(work, work.sent)} if likeness else {}
    operations: Counter[str] = Counter()
    for known in work.sent:
        form = known.form
        alike = likeness.candidates(hashes[form.enc]) if likeness else ()
        started = time.thread_time()
        chosen = choose(form, index.candidates(known, alike), work.store.__getitem__, rates)
        encoded = chosen.recipe.encode()
        chosen_at = time.thread_time()
        receiver.make(encoded, form)
        made_at = time.thread_time()
        if receiver.frames[form.enc] != work.store[form.enc]:
            raise SystemExit(f"{work.name}: a recipe made another frame")
        index.add(recipesets.with_depth(known, chosen.depth))
        row.frames += 1
        row.stored += form.length
        row.htj2k += _htj2k_bytes(Frame(form, work.store.__getitem__))
        row.recipes += len(encoded)
        row.choose_ms += 1000 * (chosen_at - started)
        row.make_ms += 1000 * (made_at - chosen_at)
        operations[chosen.recipe.operation.name.lower()] += 1
    row.choose_ms /= row.frames
    row.make_ms /= row.frames
    row.operations = dict(operations.most_common())
    return row


def _htj2k_bytes(frame: Frame) -> int:
    if not frame.form.is_native or frame.samples is None or frame.form.pixel is None:
        return frame.form.length
    return min(frame.form.length, len(encode_htj2k(frame.samples, frame.form.pixel)))


def loss_ratio(loss: Loss, rates: Rates) -> tuple[int, float]:
    """Return the number of pairs, and the bytes of residuals as a share of the frames coded alone."""
    alone = by_residual = 0
    for target, base in loss.pairs:
        frame, other = Frame(target.form, loss.store.__getitem__), Frame(base.form, loss.store.__getitem__)
        recipe, whole = residual.encode(frame, [other], rates), coded.encode(frame, rates)
        if recipe is None or whole is None:
            raise SystemExit(f"{loss.name}: the frames do not fit each other")
        alone += len(whole.payload)
        by_residual += len(recipe.payload)
    return len(loss.pairs), by_residual / alone


# -- telling -----------------------------------------------------------------------------------


def _print_table(rows: Iterable[Row]) -> None:
    print(
        f"{'':<49}{'frames':>7}{'stored':>13}{'HTJ2K':>12}{'recipes':>12}{'saved':>8}"
        f"{'choose ms':>11}{'make ms':>9}  operations"
    )
    for row in rows:
        used = ", ".join(f"{name} {count}" for name, count in row.operations.items())
        name = f"{row.name} *" if row.made_here else row.name
        print(
            f"{name:<49}{row.frames:>7}{row.stored:>13,}{row.htj2k:>12,}{row.recipes:>12,}{_percent(row.saved):>8}"
            f"{row.choose_ms:>11.1f}{row.make_ms:>9.1f}  {used}",
            flush=True,
        )


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("-0.0%", "0.0%")


def _measured(data: Path, rates: Rates, only: str) -> Iterator[Row]:
    for make in recipesets.WORKLOADS:
        for work in make(data):
            if only in work.name:
                yield measure(work, rates)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=studies_folder(), help="folder of real studies")
    parser.add_argument("--megabits", type=float, default=10, help="what the line carries a second")
    parser.add_argument("--cores", type=int, default=1, help="that work while the line is busy; 0: one frame at a time")
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.data is None:
        print("no folder of real studies: give it, or set NEARFRAME_TEST_DATA; nothing measured")
        return 0
    rates = Rates.of_megabits(options.megabits, options.cores)
    rows = _measured(options.data, rates, options.only)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return 0
    how = f"frames in a row, {options.cores} cores" if options.cores else "one frame at a time"
    print(f"a line of {options.megabits:g} Mbit/s, {how}\n")
    _print_table(rows)
    print("\nnever tried, since it loses: residual to the other frame, in % of the frame coded alone")
    for make in LOSSES:
        for loss in make(options.data):
            if options.only in loss.name:
                count, ratio = loss_ratio(loss, rates)
                print(f"{loss.name:<49}{count:>7}{ratio:>10.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
