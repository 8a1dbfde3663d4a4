"""Somebody tries to have a baseline count for more than it is worth, or longer than it may."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from intact.model.digest import Digest
from intact.model.layer import Grade
from tests.attack.test_stolen_key import CI, EVIL, NOW, ROOT, Place


def test_a_stolen_ci_key_leaves_nothing_in_images_computed_here(tmp_path: Path) -> None:
    """It signs a table with room for a backdoor for a layer that many images have. Were that table taken for those, they would stay
    Verified, by the store's own signature, when the key is revoked."""
    place = Place(tmp_path)
    place.take_in(EVIL, CI)
    store = place.open()
    assert EVIL.grade is Grade.VERIFIED, "as whoever signed it says"
    assert store.find_layer(EVIL.layers[0].diff_id) is None
    store.put(replace(EVIL, key=Digest.of(b"another image"), grade=Grade.VERIFIED))  # computed here, from the image's own bytes
    place.root = ROOT.revoke(CI.public.id, NOW, "stolen")
    assert place.open().find_layer(EVIL.layers[0].diff_id) is not None
