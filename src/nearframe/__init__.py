"""nearframe: an edge-first imaging system. Medical images where the clinician is, at once, safely."""

__version__ = "0.1.0"
