"""The main job on real input: an origin, an edge, a study, a correction, and a cut line."""
