"""Laws of a stack of layers: scanning and looking up agree, whole or below any directory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from intact.ingest.layer import apply_members
from intact.ingest.limits import Limits
from intact.ingest.tar import read_members
from intact.model.digest import Digest
from intact.model.encoding import seal
from intact.model.entry import Kind
from intact.model.errors import InputError
from intact.model.layer import LayerTable, find_in_stack, scan_stack
from lab.layers import build_tar
from tests.integration.layer_stacks import random_stack


def make_stack(seed: int) -> tuple[LayerTable, ...]:
    tables = []
    for index, entries in enumerate(random_stack(seed)):
        try:
            members = read_members([build_tar(entries)], limits=Limits(), layer="L")
            form, records = apply_members(members, base=index == 0, limits=Limits(), layer="L")
        except InputError:
            continue
        tables.append(seal(Digest.of(b"%d" % index), form, records))
    return tuple(tables)


@given(st.integers(0, 1_000_000))
def test_scan_and_find_agree_below_every_directory(seed: int) -> None:
    stack = make_stack(seed)
    whole = list(scan_stack(stack))
    assert [entry.path for entry in whole] == sorted({entry.path for entry in whole})
    named = {record.path for layer in stack for record in layer.scan()}
    assert {path for path in named if find_in_stack(stack, path) is not None} == {entry.path for entry in whole}
    for entry in whole:
        assert find_in_stack(stack, entry.path) == entry
        if entry.kind is Kind.DIRECTORY:
            below = [found for found in whole if found.path.startswith(entry.path.rstrip(b"/") + b"/")]
            assert list(scan_stack(stack, entry.path)) == below
