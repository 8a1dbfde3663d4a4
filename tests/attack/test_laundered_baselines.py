"""Somebody tries to have a baseline count for more than it is worth, or longer than it may."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from intact.adapters.layout.oci import LayoutSource
from intact.baseline.table import seal_table
from intact.ingest.image import ingest
from intact.model.digest import Algorithms, Digest
from intact.model.errors import TrustError
from intact.model.layer import Baseline, Grade, Record
from intact.run.cluster.supplied import check_own
from lab import layers
from lab.images import pack_entries
from lab.oci import write_layout
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


def swap_contents(baseline: Baseline) -> Baseline:
    """The same names, metadata and algorithms, with other contents."""

    def swap(record: Record) -> Record:
        entry = record.entry
        if entry is None or entry.digest is None:
            return record
        other = Digest(entry.digest.algorithm, bytes(reversed(entry.digest.value)))
        return replace(record, entry=replace(entry, digest=other))

    tables = tuple(seal_table(layer.diff_id, layer.form, map(swap, layer.scan())) for layer in baseline.layers)
    return replace(baseline, layers=tables, grade=Grade.SIGNED)


@pytest.mark.parametrize("names", [["sha256"], ["sha256", "md5"], ["sha512"], ["sha512", "md5"]])
def test_what_contradicts_the_images_own_bytes_does_not_hide_behind_other_algorithms(names: list[str], tmp_path: Path) -> None:
    packed = pack_entries([layers.file(b"/bin/app", b"app", 0o755)], tmp_path)
    source = LayoutSource(write_layout(tmp_path, "docker.io/local/app:1", [packed]).directory)
    own = ingest(source, algorithms=Algorithms.choose(["sha256", "md5"]))
    honest = replace(ingest(source, algorithms=Algorithms.choose(names)), grade=Grade.SIGNED)
    assert honest.algorithms == Algorithms.choose(names)
    with pytest.raises(TrustError):
        check_own(swap_contents(honest), own)
    if "sha256" in names:
        check_own(honest, own)
