"""Every parser of ingest and baseline, on anything: a value or an expected error, soon, and never anything else.

INTACT_FUZZ_EXAMPLES sets how long to try.
"""

import contextlib
import gzip
import io
import os
import tarfile

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intact.adapters.layout.names import parse_image_name
from intact.baseline.document import load_document
from intact.baseline.signing import KeySigner, open_envelope, seal_envelope
from intact.baseline.table import load_table
from intact.ingest.compression import decompress
from intact.ingest.documents import parse_config, parse_index, parse_manifest
from intact.ingest.layer import apply_members
from intact.ingest.limits import Limits
from intact.ingest.tar import read_members
from intact.model.encoding import decode_record
from intact.model.errors import InputError, IntactError
from lab import layers
from tests.unit.baseline.vectors import make_vectors

settings.register_profile("fuzz", max_examples=int(os.environ.get("INTACT_FUZZ_EXAMPLES", "300")), suppress_health_check=list(HealthCheck))
FUZZ = settings.get_profile("fuzz")
LIMITS = Limits(entries=1000, uncompressed_bytes=16 << 20, ratio_free_bytes=1 << 20)
TAR = layers.build_tar(
    [
        layers.file(b"/etc/" + b"n" * 120, b"content" * 100, xattrs={"user.k": b"v"}),
        s := layers.symlink(b"/s", b"etc"),
        layers.hard_link(b"/h", s),
        layers.whiteout(b"/gone"),
        layers.opaque(b"/etc"),
        layers.character_device(b"/c", (1, 3)),
    ]
)
VECTORS = make_vectors()


@st.composite
def damaged(draw: st.DrawFn, seed: bytes) -> bytes:
    """The seed with a few bytes changed, parts cut out and repeated."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
            case 1:
                del data[at : at + draw(st.integers(1, 600))]
            case 2:
                data[at:at] = data[at : at + draw(st.integers(1, 600))]
            case _:
                data[at : at + 1] = draw(st.sampled_from([b"\xff", b"\0", b"0", b"7", b"\x80", b"\n", b"="]))
    return bytes(data)


@given(damaged(TAR) | st.binary(max_size=2000))
@settings(FUZZ)
def test_tar_streams(data: bytes) -> None:
    for base in (False, True):
        with contextlib.suppress(InputError):
            members = read_members([data], limits=LIMITS, layer="fuzz")
            apply_members(members, base=base, limits=LIMITS, layer="fuzz")


@given(damaged(TAR))
@settings(FUZZ)
def test_what_we_read_of_a_tar_is_what_tarfile_reads(data: bytes) -> None:
    try:
        ours = [(m.name.rstrip(b"/"), m.size_bytes) for m in read_members([data], limits=LIMITS, layer="fuzz") if m.type == b"0"]
    except InputError:
        return
    with contextlib.suppress(tarfile.TarError, ValueError, OverflowError), tarfile.open(fileobj=io.BytesIO(data)) as archive:
        theirs = {(os.fsencode(m.name).rstrip(b"/").split(b"\0")[0], m.size) for m in archive if m.isreg()}
        if len(theirs) == len(ours):
            assert {name.lstrip(b"/") for name, _ in ours} == {name.lstrip(b"/") for name, _ in theirs}


@given(damaged(gzip.compress(TAR)) | st.binary(max_size=500), st.sampled_from(["+gzip", "+zstd", ""]))
@settings(FUZZ)
def test_compressed_layers(data: bytes, suffix: str) -> None:
    with contextlib.suppress(InputError):
        for part in decompress([data], "application/vnd.oci.image.layer.v1.tar" + suffix, limits=LIMITS, layer="fuzz"):
            assert part


DOCUMENT = (
    b'{"schemaVersion":2,"config":{"mediaType":"a","digest":"sha256:%s","size":1},"layers":[],'
    b'"rootfs":{"type":"layers","diff_ids":[]},"manifests":[]}'
)


@given(damaged(DOCUMENT.replace(b"%s", b"a" * 64)) | st.binary(max_size=300))
@settings(FUZZ)
def test_documents(data: bytes) -> None:
    for parse in (lambda: parse_index(data, LIMITS), lambda: parse_manifest(data, LIMITS), lambda: parse_config(data)):
        with contextlib.suppress(InputError):
            parse()


@given(damaged(VECTORS["layer.table"]) | st.binary(max_size=300))
@settings(FUZZ)
def test_tables(data: bytes) -> None:
    with contextlib.suppress(IntactError):
        load_table(data)
    with contextlib.suppress(InputError):
        decode_record(data)


@given(damaged(VECTORS["signed.baseline"]) | st.binary(max_size=300))
@settings(FUZZ)
def test_baseline_files(data: bytes) -> None:
    with contextlib.suppress(IntactError):
        load_document(data, allow_unsigned=True)


KEY = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))


@given(damaged(seal_envelope(b"{}", [KEY])) | st.binary(max_size=300))
@settings(FUZZ)
def test_envelopes(data: bytes) -> None:
    with contextlib.suppress(IntactError):
        assert open_envelope(data, trusted=[KEY.public]).payload == b"{}"


@given(st.text(max_size=60) | st.sampled_from(["docker://", "oci:", "dir:"]).flatmap(lambda start: st.text(max_size=30).map(start.__add__)))
@settings(FUZZ)
def test_image_names(text: str) -> None:
    with contextlib.suppress(InputError):
        parse_image_name(text)
