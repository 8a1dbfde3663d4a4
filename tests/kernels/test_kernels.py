"""The observer on the kernels people run, for real: what each lets us hear, and that a scan finds everything on all of them."""

from __future__ import annotations

import json

import pytest

from lab.kernels import KERNELS, run_guest
from lab.settings import REPOSITORY

GUEST = "tests/kernels/guest.py"
FILES = (GUEST, "src/intact", "tests/attack/staged.py")
TIERS = {"5.10": "B", "6.1": "B", "6.12": "A"}

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(1200)]


@pytest.mark.parametrize("series", KERNELS)
def test_every_change_is_heard_and_found(series: str) -> None:
    printed = run_guest(series, GUEST, REPOSITORY, FILES)
    told = json.loads(printed.splitlines()[-1])
    assert told["release"].startswith(series + ".")
    assert told["tier"] == TIERS[series], told["reason"]
    assert [what for what, seen in told["changes"].items() if not seen["found"]] == []
    assert [what for what, seen in told["changes"].items() if not seen["heard"]] == []
