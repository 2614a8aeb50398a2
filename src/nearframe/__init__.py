"""nearframe: an edge-first imaging system. Medical images where the clinician is, at once, safely."""

import os

__version__ = "0.1.0"

# Frames are worked on side by side in threads of our own. OpenBLAS would add one per core to each of
# them, waiting in a loop: the perceptual hash of one frame then takes 7 ms of CPU instead of 1. It
# reads this when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
