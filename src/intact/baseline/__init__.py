"""Stage 2: layer tables → a Baseline: encoded, signed, stored, exported; and back, verified."""
