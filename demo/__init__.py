"""The main job, told like a story, on real parts: `make demo`."""
