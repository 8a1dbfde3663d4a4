"""Laws of the layer table and the baseline file: what is written is read, in one way only, and no byte of it can change unseen."""

from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from intact.baseline.document import encode_document, load_document
from intact.baseline.signing import KeySigner
from intact.baseline.table import encode_table, load_table, reopen_table, seal_table
from intact.model.digest import SIZES, WEAK, Algorithms, Digest
from intact.model.encoding import decode_record, encode_file, encode_record, encode_values, seal
from intact.model.entry import Entry, Kind, known_by
from intact.model.errors import InputError, TrustError
from intact.model.hashing import choose_hasher, split_values
from intact.model.layer import Baseline, Form, Grade, Record, complete_parents

NAMES = st.binary(min_size=1, max_size=6).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: b"/" + b"/".join(parts))
IDS = st.integers(0, 2**32 - 1)
ALGORITHMS = st.lists(st.sampled_from(sorted(SIZES)), max_size=4).map(Algorithms.choose)
XATTRS = st.dictionaries(st.binary(min_size=1, max_size=20), st.binary(max_size=20), max_size=3).map(
    lambda found: tuple(sorted(found.items()))
)


@st.composite
def digests(draw: st.DrawFn, algorithms: Algorithms) -> tuple[Digest, ...]:
    return tuple(Digest(name, draw(st.binary(min_size=SIZES[name], max_size=SIZES[name]))) for name in algorithms.names)


@st.composite
def entries(draw: st.DrawFn, path: bytes, algorithms: Algorithms) -> Entry:
    kind = draw(st.sampled_from(Kind))
    deciding, *further = draw(st.just((None,)) | digests(algorithms)) if kind is Kind.FILE else (None,)
    return Entry(
        path=path,
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(IDS),
        gid=draw(IDS),
        size_bytes=draw(st.integers(0, 2**64 - 1)) if kind is Kind.FILE else 0,
        digest=deciding,
        further=tuple(further),
        target=draw(st.binary(max_size=30).filter(lambda text: b"\0" not in text)) if kind is Kind.SYMLINK else b"",
        device=draw(st.tuples(IDS, IDS)) if kind in (Kind.CHAR, Kind.BLOCK) else None,
        xattrs=draw(XATTRS),
    )


@st.composite
def record_at(draw: st.DrawFn, path: bytes, algorithms: Algorithms | None = None) -> Record:
    entry = draw(st.none() | entries(path, algorithms or draw(ALGORITHMS)))
    is_directory = entry is not None and entry.kind is Kind.DIRECTORY
    return Record(path=path, entry=entry, opaque=is_directory and draw(st.booleans()), implicit=is_directory and draw(st.booleans()))


@st.composite
def layers(draw: st.DrawFn, chosen: Algorithms | None = None) -> tuple[Record, ...]:
    paths = draw(st.sets(PATHS, max_size=12))
    algorithms = chosen or draw(ALGORITHMS)
    leaves = [path for path in paths if not any(other.startswith(path + b"/") for other in paths)]
    found = {path: draw(record_at(path, algorithms)) for path in leaves}
    found.setdefault(b"/", Record(path=b"/", entry=Entry(path=b"/", kind=Kind.DIRECTORY, mode=0o755)))
    return complete_parents(found)


DIFF_ID = Digest.of(b"layer")


@given(layers(), st.sampled_from(Form))
def test_a_table_holds_what_it_was_made_of(records: tuple[Record, ...], form: Form) -> None:
    table = seal_table(DIFF_ID, form, records)
    assert load_table(table.data).data == table.data == encode_table(seal(DIFF_ID, form, records))
    assert (tuple(table.scan()), table.form, table.diff_id, len(table)) == (records, form, DIFF_ID, len(records))
    assert [table.find(record.path) for record in records] == list(records)
    for record in records:
        below = tuple(found for found in records if found.path.startswith(record.path.rstrip(b"/") + b"/"))
        assert tuple(table.scan(record.path)) == below
    assert table.find(b"/missing\xff") is None
    assert table.algorithms == load_table(table.data).algorithms == seal(DIFF_ID, form, records).algorithms
    assert table.algorithms in {known_by(record.entry) for record in records if record.entry is not None}


def file_by(path: bytes, *names: str) -> Record:
    deciding, *further = (Digest(name, bytes(SIZES[name])) for name in names)
    return Record(path=path, entry=Entry(path=path, kind=Kind.FILE, mode=0o644, digest=deciding, further=tuple(further)))


@pytest.mark.parametrize(
    "names",
    [*((name,) for name in sorted(WEAK)), ("md5", "sha256"), ("sha256", "sha256"), ("sha256", "sha512", "md5"), ("sha256", "md5", "md5")],
    ids=" ".join,
)
def test_a_weak_digest_never_decides_and_each_algorithm_stands_once_in_order(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        decode_record(encode_record(file_by(b"/a", *names)))


def test_files_of_one_table_known_by_different_algorithms_are_refused() -> None:
    root = Record(path=b"/", entry=Entry(path=b"/", kind=Kind.DIRECTORY, mode=0o755))
    load_table(seal_table(DIFF_ID, Form.PLAIN, (root, file_by(b"/a", "belt-hash", "md5"), file_by(b"/b", "belt-hash", "md5"))).data)
    with pytest.raises(InputError, match="different algorithms"):
        load_table(seal_table(DIFF_ID, Form.PLAIN, (root, file_by(b"/a", "belt-hash", "md5"), file_by(b"/b", "belt-hash"))).data)


@given(PATHS.flatmap(record_at), PATHS.flatmap(record_at))
def test_two_records_never_encode_alike(one: Record, other: Record) -> None:
    assert (encode_record(one) == encode_record(other)) == (one == other)
    assert decode_record(encode_record(one)) == one


@given(PATHS, ALGORITHMS, st.binary(max_size=100), st.integers(0, 0o7777), IDS, IDS, XATTRS)
def test_a_file_is_encoded_without_an_object_as_with_one(
    path: bytes, algorithms: Algorithms, content: bytes, mode: int, uid: int, gid: int, xattrs: tuple[tuple[bytes, bytes], ...]
) -> None:
    values = choose_hasher(algorithms)(content).digest()
    deciding, further = split_values(algorithms, values)
    entry = Entry(path=path, kind=Kind.FILE, mode=mode, uid=uid, gid=gid, size_bytes=len(content), digest=deciding, further=further,
                  xattrs=xattrs)  # fmt: skip
    encoded = encode_file(path, mode, uid, gid, len(content), encode_values(algorithms, values), xattrs)
    assert encoded == encode_record(Record(path=path, entry=entry))


@given(st.binary(max_size=80))
def test_bytes_are_a_record_only_in_the_one_form(data: bytes) -> None:
    with contextlib.suppress(InputError):
        assert encode_record(decode_record(data)) == data


@given(layers(), st.data())
def test_no_byte_of_a_table_changes_unseen(records: tuple[Record, ...], data: st.DataObject) -> None:
    table = seal_table(DIFF_ID, Form.PLAIN, records)
    assert reopen_table(table.data, table.root).root == table.root
    original = bytearray(table.data)
    at = data.draw(st.integers(0, len(original) - 1))
    original[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises((InputError, TrustError)):
        load_table(bytes(original))
    with pytest.raises((InputError, TrustError)):
        reopen_table(memoryview(bytes(original)), table.root)


@given(layers(), st.data())
def test_a_table_that_is_cut_or_extended_is_refused(records: tuple[Record, ...], data: st.DataObject) -> None:
    original = bytes(seal_table(DIFF_ID, Form.PLAIN, records).data)
    with pytest.raises((InputError, TrustError)):
        load_table(original[: data.draw(st.integers(0, len(original) - 1))])
    with pytest.raises(InputError):
        load_table(original + b"\0")


@given(layers(), layers())
def test_a_whole_table_in_anothers_place_is_refused(one: tuple[Record, ...], other: tuple[Record, ...]) -> None:
    first, second = (seal_table(DIFF_ID, Form.PLAIN, records) for records in (one, other))
    if first.root != second.root:
        with pytest.raises(TrustError):
            reopen_table(first.data, second.root)


KEY = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def make_baseline(*tables: tuple[Record, ...]) -> Baseline:
    sealed = tuple(seal_table(Digest.of(b"%d" % index), Form.PLAIN, records) for index, records in enumerate(tables))
    return Baseline(
        key=Digest.of(b"config"), layers=sealed, grade=Grade.VERIFIED, source="oci:x:1", aliases=("a/b:1",), platform="linux/amd64"
    )


STACKS = ALGORITHMS.flatmap(lambda algorithms: st.lists(layers(algorithms), min_size=1, max_size=3))


@given(STACKS, st.data())
@settings(max_examples=300)
def test_no_byte_of_a_signed_baseline_changes_unseen(tables: list[tuple[Record, ...]], data: st.DataObject) -> None:
    baseline = make_baseline(*tables)
    original = bytearray(encode_document(baseline, [KEY]))
    loaded = load_document(bytes(original), trusted=[KEY.public])
    assert (loaded.key, loaded.root, loaded.aliases, loaded.grade) == (baseline.key, baseline.root, baseline.aliases, Grade.SIGNED)
    at = data.draw(st.integers(0, len(original) - 1))
    original[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises((InputError, TrustError)):
        load_document(bytes(original), trusted=[KEY.public])


def test_layers_known_by_different_algorithms_make_no_baseline() -> None:
    root = Record(path=b"/", entry=Entry(path=b"/", kind=Kind.DIRECTORY, mode=0o755))
    mixed = make_baseline((root, file_by(b"/a", "sha256")), (root, file_by(b"/a", "sha512")))
    with pytest.raises(TrustError, match="other algorithms"):
        load_document(encode_document(mixed, [KEY]), trusted=[KEY.public])
