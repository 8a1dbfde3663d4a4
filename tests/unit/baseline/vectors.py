"""Writes the test vectors of docs/formats: `python -m tests.unit.baseline.vectors`. They change only with the version of a format."""

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from intact.baseline.document import encode_document
from intact.baseline.formats.describe import describe
from intact.baseline.signing import KeySigner, encode_pae
from intact.baseline.statement import encode_statement
from intact.baseline.table import MappedTable, seal_table
from intact.model.digest import Digest
from intact.model.encoding import encode_record
from intact.model.entry import Entry, Kind
from intact.model.layer import Baseline, Form, Grade, Record

DIRECTORY = Path(__file__).parents[3] / "docs" / "formats" / "vectors"
KEY = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
"""Known to everybody: for the vectors alone."""

RECORDS = (
    Record(path=b"/", entry=Entry(path=b"/", kind=Kind.DIRECTORY, mode=0o755), implicit=True),
    Record(path=b"/bin", entry=Entry(path=b"/bin", kind=Kind.SYMLINK, mode=0o777, target=b"usr/bin")),
    Record(path=b"/dev", entry=Entry(path=b"/dev", kind=Kind.DIRECTORY, mode=0o755), opaque=True),
    Record(path=b"/dev/null", entry=Entry(path=b"/dev/null", kind=Kind.CHAR, mode=0o666, device=(1, 3))),
    Record(path=b"/etc", entry=None),
    Record(path=b"/run", entry=Entry(path=b"/run", kind=Kind.FIFO, mode=0o600, uid=100, gid=4294967294)),
    Record(
        path=b"/usr",
        entry=Entry(
            path=b"/usr",
            kind=Kind.FILE,
            mode=0o4755,
            size_bytes=5,
            digest=Digest.of(b"hello"),
            xattrs=((b"security.capability", bytes.fromhex("0100000200200000000000000000000000000000")), (b"user.note", b"")),
        ),
    ),
    Record(path=b"/\xff\n", entry=Entry(path=b"/\xff\n", kind=Kind.FILE, mode=0o644)),
)


SEVERAL = (
    RECORDS[0],
    Record(
        path=b"/a",
        entry=Entry(
            path=b"/a",
            kind=Kind.FILE,
            mode=0o644,
            size_bytes=11,
            digest=Digest("belt-hash", bytes.fromhex("afb175816416fbadad4629ecbd78e1887789881f2d2e5b80c22a746b7ac7ba88")),
            further=(
                Digest("blake3", bytes.fromhex("d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24")),
                Digest("md5", bytes.fromhex("5eb63bbbe01eeed093cb22bb8f5acdc3")),
            ),
        ),
    ),
)
"""`hello world`, known by several algorithms."""


def make_several() -> MappedTable:
    return seal_table(Digest.of(b"layer"), Form.PLAIN, SEVERAL)


def make_table() -> MappedTable:
    return seal_table(Digest.of(b"layer"), Form.STACKED, RECORDS)


def make_baseline() -> Baseline:
    return Baseline(
        key=Digest.of(b"config"),
        layers=(make_table(),),
        grade=Grade.VERIFIED,
        source="oci:vectors:1",
        aliases=("example.org/vectors:1",),
        platform="linux/amd64",
    )


def make_vectors() -> dict[str, bytes]:
    """File name → content."""
    table, baseline = make_table(), make_baseline()
    statement = encode_statement(baseline)
    described: dict[str, Any] = {
        "form": table.form.name,
        "diffId": str(table.diff_id),
        "root": str(table.root),
        "records": [{"path": record.path.hex(), "encoded": encode_record(record).hex()} for record in RECORDS],
    }
    whole = describe(baseline) | {"keyId": KEY.public.id, "statement": statement.decode()}
    whole["pae"] = encode_pae("application/vnd.in-toto+json", statement).decode()
    return {
        "layer-table.json": json.dumps(described, indent=1).encode() + b"\n",
        "layer.table": bytes(table.data),
        "several.table": bytes(make_several().data),
        "baseline.json": json.dumps(whole, indent=1).encode() + b"\n",
        "signed.baseline": encode_document(baseline, [KEY]),
        "trusted.pub": KEY.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }


if __name__ == "__main__":
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, content in make_vectors().items():
        (DIRECTORY / name).write_bytes(content)
