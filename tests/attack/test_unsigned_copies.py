"""Somebody runs a copy of an image out of a registry of their own, to have everybody else's called unsigned (threat model, K7)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intact.model.incident import Workload
from intact.model.policy import Cause
from tests.unit.baseline.cosigned import IMAGE, SIMPLE
from tests.unit.run.cluster.test_image_trust import NAME, Shop, container, pod

THIEF = Workload(kind="Pod", namespace="play", name="copy", uid="uid-play-copy")


@pytest.mark.parametrize("host", ["a.example", "z.example"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_copy_without_a_signature_has_nobodys_image_called_unsigned(host: str, is_first: bool) -> None:
    """Wherever its name stands in an order of names, and whoever was asked first."""
    copy = (replace(pod("copy"), namespace="play", workload=THIEF), [container(f"{host}/copy:1")])
    shop = Shop(signatures={NAME: [SIMPLE]})
    if is_first:
        shop.pods = [copy]
        assert Cause.IMAGE_TRUST in shop.look()
        shop.pods = [copy, *Shop().pods]
    else:
        shop.look()
        shop.pods.append(copy)
    assert shop.look() == {}
    assert f"{host}/copy@{IMAGE}" in shop.asked and NAME in shop.asked
