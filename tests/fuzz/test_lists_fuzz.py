"""Every reader of lists, on anything: a baseline or an expected error, soon, and what is read comes back as it was written.

INTACT_FUZZ_EXAMPLES sets how long to try.
"""

import contextlib
import os

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from intact.baseline.document import encode_document, load_document
from intact.baseline.formats.export import Export, export
from intact.baseline.formats.losses import Losses
from intact.baseline.formats.read import READABLE, Reading, detect, read_lists
from intact.baseline.formats.vis import decode_vis, encode_vis
from intact.model.errors import IntactError
from intact.model.layer import Baseline
from tests.fuzz.test_ingest_fuzz import damaged
from tests.unit.baseline.vectors import make_baseline

FUZZ = settings(max_examples=int(os.environ.get("INTACT_FUZZ_EXAMPLES", "300")), suppress_health_check=list(HealthCheck), deadline=None)


def write(baseline: Baseline, form: str) -> bytes:
    return b"".join(export(Export(baseline=baseline), form, Losses()))


SUMS = (
    b"a" * 64 + b"  /etc/passwd\n\\" + b"b" * 64 + b" *./a\\nb\\\\c\nSHA256 (x) = " + b"c" * 64 + b"\n" + b"d" * 64 + b"  \xff\r\n# note\n"
)
MTREE = (
    b"#mtree\n/set type=file uid=0 gid=0 mode=0644\n. type=dir\n    a\\040b size=1 sha256=" + b"a" * 64 + b" \\\n  md5=" + b"b" * 32
    + b"\n    d type=dir\n        l type=link link=\\M-C\\M-)\n        ..\n    n type=char device=native,1,3\n..\n./d/x size=2 sha256="
    + b"c" * 64 + b" md5=" + b"d" * 32 + b"\n"
)  # fmt: skip
JSON = write(make_baseline(), "json")


def read_anyhow(data: bytes, form: str, zero: bool = False) -> None:
    try:
        read = read_lists([data], Reading(form=form, zero=zero, source="fuzz"))
    except IntactError:
        return
    baseline = read.baseline
    again = load_document(encode_document(baseline), allow_unsigned=True, allow_listing=True)
    assert (again.root, again.stated) == (baseline.root, baseline.stated)
    back = read_lists([write(baseline, "json")], Reading(form="json"))
    assert back.baseline.root == baseline.root
    if form != "json":
        with contextlib.suppress(IntactError):  # a list of weak sums has several names for its algorithm
            written = write(baseline, form)
            reread = read_lists([written], Reading(form=form, source="fuzz")).baseline
            assert [e for e in reread.scan() if reread.stated.speaks_of(e)] == [e for e in baseline.scan() if baseline.stated.speaks_of(e)]


@given(damaged(SUMS) | st.binary(max_size=500), st.booleans())
@FUZZ
def test_checksum_lists(data: bytes, zero: bool) -> None:
    read_anyhow(data, "checksums", zero)


@example(MTREE.replace(b"mode=0644", b"", 1))
@given(damaged(MTREE) | st.binary(max_size=500))
@FUZZ
def test_mtree_specifications(data: bytes) -> None:
    read_anyhow(data, "mtree")


@given(damaged(JSON) | st.binary(max_size=500))
@FUZZ
def test_json_documents(data: bytes) -> None:
    read_anyhow(data, "json")


@given(st.binary(max_size=300) | damaged(SUMS) | damaged(MTREE) | damaged(JSON))
@FUZZ
def test_any_file_is_some_format(data: bytes) -> None:
    assert detect(data) in (*READABLE, "baseline")


@given(st.binary(max_size=300))
@FUZZ
def test_names_in_vis(data: bytes) -> None:
    with contextlib.suppress(IntactError):
        decode_vis(data)
    if b"\0" not in data:
        assert decode_vis(encode_vis(data)) == data
