"""What the scan says of random overlays equals what a process inside sees, path by path and bit by bit; and so does what is compared.

INTACT_RANDOM_OVERLAYS says how many random overlays are tried, divided among the ways to mount them: 220 unless it is set.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.random_overlays import LAYERS, TOP, WAYS, Step, check_overlay

pytestmark = pytest.mark.usefixtures("root")

EXAMPLES = int(os.environ.get("INTACT_RANDOM_OVERLAYS", "220"))


@pytest.mark.parametrize("way", WAYS)
@settings(
    max_examples=max(1, EXAMPLES // len(WAYS)), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(LAYERS, TOP, st.booleans())
def test_the_scan_and_the_mounted_view_agree(way: str, layers: list[list[Step]], top: list[Step], hollow: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="intact-views-") as base:
        check_overlay(Path(base), WAYS[way], layers, top, hollow=hollow)
