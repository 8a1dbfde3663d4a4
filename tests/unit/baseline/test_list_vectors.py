"""The documented vectors of lists and documents are what the code writes and reads."""

import json

import pytest

from intact.baseline.document import join_document
from intact.baseline.formats.document import read_document
from intact.baseline.formats.read import Reading, read_lists
from intact.model.stated import Aspect
from tests.unit.baseline.list_vectors import describe_list, make_list_vectors
from tests.unit.baseline.vectors import DIRECTORY, make_baseline


@pytest.mark.parametrize(("name", "content"), make_list_vectors().items(), ids=list(make_list_vectors()))
def test_a_vector_is_what_is_written(name: str, content: bytes) -> None:
    assert (DIRECTORY / name).read_bytes() == content


def test_each_documented_list_becomes_what_is_documented() -> None:
    vectors = json.loads((DIRECTORY / "lists.json").read_bytes())
    assert {vector["name"] for vector in vectors if vector.get("refused")} == {
        "twice and different", "mixed", "above the root", "cut off", "below a file", "empty"
    }  # fmt: skip
    for vector in vectors:
        assert {"name": vector["name"], "list": vector["list"], **describe_list(bytes.fromhex(vector["list"]))} == vector


def test_the_documented_document_is_the_documented_baseline() -> None:
    baseline, envelope = read_document((DIRECTORY / "baseline-document.json").read_bytes())
    assert envelope is not None
    assert join_document(envelope, baseline.layers) == (DIRECTORY / "signed.baseline").read_bytes()


def test_the_documented_specification_is_the_documented_tree() -> None:
    """Of which one file was not read: content is then stated of none."""
    found = read_lists([(DIRECTORY / "tree.mtree").read_bytes()], Reading()).baseline
    seen = [(e.path, e.kind, e.mode, e.uid, e.gid, e.size_bytes, e.target) for e in found.scan()]
    assert seen == [(e.path, e.kind, e.mode, e.uid, e.gid, e.size_bytes, e.target) for e in make_baseline().scan()]
    assert Aspect.CONTENT not in found.stated.aspects
