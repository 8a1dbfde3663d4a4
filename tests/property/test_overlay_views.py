"""What the scan says of random overlays equals what a process inside sees, path by path and bit by bit; and so does what is compared.

INTACT_RANDOM_OVERLAYS says how many random overlays are tried, divided among the ways to mount them: 220 unless it is set. They are new
ones at every run; continuous integration tries the same ones every time.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from random import Random, randrange

import pytest

from tests.random_overlays import WAYS, check_overlay, draw_layers, draw_steps

pytestmark = pytest.mark.usefixtures("root")

EXAMPLES = int(os.environ.get("INTACT_RANDOM_OVERLAYS", "220"))
FIRST_SEED = 0 if os.environ.get("CI") else randrange(1 << 30)


@pytest.mark.timeout(300 + EXAMPLES)
@pytest.mark.parametrize("way", WAYS)
def test_the_scan_and_the_mounted_view_agree(way: str) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + max(1, EXAMPLES // len(WAYS))):
        random = Random(f"{way} {seed}")
        layers, top, hollow = draw_layers(random), draw_steps(random, 24), random.random() < 0.5
        with tempfile.TemporaryDirectory(prefix="intact-views-") as base:
            try:
                check_overlay(Path(base), WAYS[way], layers, top, hollow=hollow)
            except AssertionError as error:
                error.add_note(f"seed {seed}\n{layers=}\n{top=}\n{hollow=}")
                raise
