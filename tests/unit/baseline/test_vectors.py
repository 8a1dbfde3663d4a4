"""The documented test vectors are what the code writes and reads: a format does not change by accident."""

import json
from pathlib import Path

import pytest

from intact.adapters.keys.signing import load_public_key
from intact.baseline.document import load_document
from intact.baseline.signing import PublicKey
from intact.baseline.table import MOST_ASKED, load_table
from intact.model.digest import Algorithms
from intact.model.encoding import decode_record
from intact.model.hashing import choose_hasher
from intact.model.layer import Grade
from tests.unit.baseline.vectors import DIRECTORY, RECORDS, SEVERAL, make_baseline, make_vectors


@pytest.mark.parametrize(("name", "content"), make_vectors().items(), ids=list(make_vectors()))
def test_a_vector_is_what_is_written(name: str, content: bytes) -> None:
    assert (DIRECTORY / name).read_bytes() == content


def test_the_documented_table_is_read() -> None:
    assert tuple(load_table((DIRECTORY / "layer.table").read_bytes()).scan()) == RECORDS
    document = json.loads((DIRECTORY / "layer-table.json").read_text())
    assert tuple(decode_record(bytes.fromhex(record["encoded"])) for record in document["records"]) == RECORDS


def test_the_documented_table_of_several_algorithms_is_read() -> None:
    table = load_table((DIRECTORY / "several.table").read_bytes())
    assert (tuple(table.scan()), table.algorithms) == (SEVERAL, Algorithms("belt-hash", ("blake3", "md5")))
    file = SEVERAL[1].entry
    assert file is not None and file.digest is not None
    assert choose_hasher(table.algorithms)(b"hello world").digest() == b"".join(one.value for one in (file.digest, *file.further))


def test_the_documented_baseline_verifies_with_the_documented_key() -> None:
    key = PublicKey(load_public_key(Path(DIRECTORY / "trusted.pub")))
    found = load_document((DIRECTORY / "signed.baseline").read_bytes(), trusted=[key])
    assert (found.grade, found.root, found.aliases) == (Grade.SIGNED, make_baseline().root, make_baseline().aliases)


def test_what_a_table_remembers_of_questions_is_bounded_and_forgotten() -> None:
    table = load_table((DIRECTORY / "layer.table").read_bytes())
    questions = [record.path for record in RECORDS] + [b"/%d" % number for number in range(2 * MOST_ASKED)] + [b"/" + b"n" * 5000]
    first, again = ([table.find(path) for path in questions] for _ in range(2))
    assert first == again == [*RECORDS, *[None] * (len(questions) - len(RECORDS))]
    assert len(table._asked) == MOST_ASKED and max(map(len, table._asked)) < 256
    table.release()
    assert not table._asked and [table.find(path) for path in questions] == first
