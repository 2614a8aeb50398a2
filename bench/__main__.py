"""Every benchmark, one after the other: ``python -m bench [--quick]``; ``make bench`` calls it.

Each part also runs alone: ``python -m bench.archive``, ``bench.dimse``, ``bench.resend``, ``bench.corrections``,
``bench.memory``, ``bench.associations``, ``bench.catalogue``, ``bench.scale``, ``bench.codecs``, ``bench.perceptual``,
``bench.listener``, ``bench.network``, ``bench.wan``, ``bench.edge``, ``bench.consult``, ``bench.recipes``,
``bench.carriage``, ``bench.sync``, ``bench.policy``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

PARTS = (
    ("against Orthanc and nginx", ["bench.archive"]),
    ("storing by C-STORE", ["bench.dimse"]),
    ("the listener alone, against nginx", ["bench.listener"]),
    ("an edge beside nginx and Varnish", ["bench.edge"]),
    ("behind a thin line", ["bench.wan"]),
    ("a consultation", ["bench.consult"]),
    ("what an edge keeps, against other policies", ["bench.policy"]),
    ("what a re-send moves", ["bench.resend"]),
    ("what a correction moves", ["bench.corrections"]),
    ("what a client's question costs", ["bench.sync"]),
    ("memory while taking in 1 GB", ["bench.memory"]),
    ("memory while 50 associations bring 100 MB each", ["bench.associations"]),
    ("catalogue: cost of an operation", ["bench.catalogue"]),
    ("a million instances against ten thousand, three origins against one", ["bench.scale"]),
    ("codecs", ["bench.codecs"]),
    ("what frame recipes save", ["bench.recipes"]),
    ("what they save on an edge's line", ["bench.carriage"]),
)
_QUICK = {
    "bench.archive": ["--quick"],
    "bench.dimse": ["--quick"],
    "bench.listener": ["--pairs", "3"],
    "bench.edge": ["--quick"],
    "bench.wan": ["--quick"],
    "bench.consult": ["--quick"],
    "bench.policy": ["--seeds", "1", "--studies", "100"],
    "bench.resend": ["--slices", "20"],
    "bench.corrections": ["--slices", "20"],
    "bench.memory": ["--frames", "100"],
    "bench.scale": ["--quick"],
    "bench.associations": ["--frames", "5"],
    "bench.recipes": ["--only", "NM"],
    "bench.carriage": ["--only", "rewritten"],
    "bench.sync": ["--slices", "20"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only see that they run: no figures to quote")
    options = parser.parse_args()
    failed = []
    for title, command in PARTS:
        print(f"\n== {title}: python -m {' '.join(command)}", flush=True)
        if options.quick and command[0] not in _QUICK:
            continue
        extra = _QUICK[command[0]] if options.quick else []
        if subprocess.run([sys.executable, "-m", *command, *extra], check=False).returncode:
            failed.append(title)
    for title in failed:
        print(f"below its bar, or failed: {title}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
