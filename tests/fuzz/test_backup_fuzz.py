"""Whatever is given as a backup: an error that says so, nothing outside the directory, and no more memory than it has bytes."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from intact.adapters.store.rows import PORTABLE, REVISION, import_rows, make_database_at
from intact.baseline.signing import KeySigner
from intact.model.errors import IntactError
from intact.run.storage.archive import create_archive, extract_archive
from intact.run.storage.backup import decode_stored

KEY = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
NAMES = st.sampled_from(
    ["rows/findings.jsonl", "state/audit.pub", "tables/x.table", "SHA256SUMS", "backup.dsse", "../x", "/x", "state", ""]
)
TYPES = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])


def silent(step: str, done: int, total: int) -> None: ...


def make_real(directory: Path) -> bytes:
    path = directory / "real.tar"
    with create_archive(path, silent) as archive:
        archive.add_bytes("rows/findings.jsonl", b'{"columns":[],"table":"findings"}\n')
        archive.add_bytes("baselines.jsonl", b"")
        archive.seal({"revision": REVISION}, KEY)
    return path.read_bytes()


def check_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name)
        (outer / "in").mkdir()
        (outer / "b.tar").write_bytes(data)
        try:
            extract_archive(outer / "b.tar", outer / "in", trusted=[KEY.public], advance=silent)
        except IntactError:
            assert {path.name for path in outer.iterdir()} == {"in", "b.tar"}
            return
        raise AssertionError("a backup that nobody made was believed")


@given(st.binary(max_size=2048))
def test_bytes_are_no_backup(data: bytes) -> None:
    check_refused(data)


@given(st.lists(st.tuples(NAMES, TYPES, st.binary(max_size=64)), max_size=6))
def test_members_of_any_name_and_type_are_no_backup(members: list[tuple[str, bytes, bytes]]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(content))
    check_refused(buffer.getvalue())


@given(at=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_changes_nothing(at: float, value: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name)
        data = bytearray(make_real(outer))
        index = int(at * len(data))
        data[index] ^= value
        (outer / "b.tar").write_bytes(data)
        (outer / "in").mkdir()
        with suppress(IntactError):
            predicate, _, names = extract_archive(outer / "b.tar", outer / "in", trusted=[KEY.public], advance=silent)
            assert predicate == {"revision": REVISION}
            assert names == ("baselines.jsonl", "rows/findings.jsonl")
            assert (outer / "in/rows/findings.jsonl").read_bytes() == b'{"columns":[],"table":"findings"}\n'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@settings(max_examples=25)
@given(head=st.sampled_from([*PORTABLE, None]), rows=st.lists(JSON | st.lists(JSON), max_size=4), junk=st.binary(max_size=64))
def test_rows_of_any_kind_are_taken_or_refused(head: object, rows: list[object], junk: bytes) -> None:
    table = next((one for one in PORTABLE if one is head), None)
    first = {"table": table.name, "columns": [c.name for c in table.columns]} if table is not None else {"table": "strange", "columns": []}
    if table is not None:
        columns = len(table.columns)
        rows = [(row * columns)[:columns] if isinstance(row, list) and row else row for row in rows]
    lines = [json.dumps(first).encode(), *(json.dumps(row).encode() for row in rows), junk]
    with tempfile.TemporaryDirectory() as name, suppress(IntactError):
        make_database_at(Path(name) / "x.db", REVISION, lambda connection: import_rows(connection, iter(lines)))


@pytest.mark.parametrize(
    "lines",
    [
        [b'{"table": [], "columns": []}'],
        [b'{"table": "nodes", "columns": [[]]}'],
        [b'{"table": "nodes", "columns": 5}'],
        [b"[]"],
        [b"[" * 100_000],
        [],
        [b'{"table":"reports","columns":["node","id","at"]}', b'["n","i",123456789012345678901234567890]'],
        [b'{"table":"reports","columns":["node","id","at"]}', b'["n","\\ud800",1]'],
        [b'{"table":"reports","columns":["node","id","at"]}', b'["n",null,1]'],
        [b'{"table":"reports","columns":["node","id","at"]}', b'["n","i",1]', b'["n","i",1]'],
        [b'{"table":"reports","columns":["node","id","at"]}', b'["n",{"b64":"?"},1]'],
    ],
)
def test_rows_that_fit_nowhere_are_refused(tmp_path: Path, lines: list[bytes]) -> None:
    with pytest.raises(IntactError):
        make_database_at(tmp_path / "x.db", REVISION, lambda connection: import_rows(connection, iter(lines)))


@given(st.binary(max_size=256) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_line_of_the_index_is_a_baseline_or_refused(line: bytes) -> None:
    with suppress(IntactError):
        decode_stored(line)
