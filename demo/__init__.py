"""The main job on real weights, step by step (`make demo`). Needs no model hub and no torch."""
