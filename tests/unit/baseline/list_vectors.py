"""Writes the test vectors of lists and documents: `python -m tests.unit.baseline.list_vectors`. They change only with a format."""

import json
from typing import Any

from intact.baseline.document import encode_document, split_document
from intact.baseline.formats.export import Export, export
from intact.baseline.formats.losses import Losses
from intact.baseline.formats.read import Reading, read_lists
from intact.model.errors import InputError
from tests.unit.baseline.vectors import DIRECTORY, KEY, make_baseline

A, B, M = b"a" * 64, b"b" * 64, b"c" * 32
LISTS: dict[str, bytes] = {
    "plain": A + b"  ./etc/passwd\n" + B + b" */bin/sh\n",
    "escaped": b"\\" + A + b"  a\\nb\\\\c\\rd\n",
    "tagged": b"SHA256 (etc/passwd) = " + A + b"\nSHA2-256(x)= " + B + b"\n",
    "not UTF-8": A + b"  \xff\xfe\n",
    "byte order mark and CR LF": b"\xef\xbb\xbf" + A + b"  x\r\n" + B + b"  y\r\n",
    "comment and empty line": b"# made by hand\n\n" + A + b"  x\n",
    "two algorithms": A + b"  x\n" + M + b"  x\n",
    "weak alone": M + b"  x\n",
    "no last line end": A + b"  x",
    "the same twice": A + b"  x\n" + A + b"  ./x\n",
    "twice and different": A + b"  x\n" + B + b"  x\n",
    "mixed": A + b"  x\n" + M + b"  y\n",
    "above the root": A + b"  ../x\n",
    "cut off": A + b"  x\n" + A[:60],
    "below a file": A + b"  x\n" + B + b"  x/y\n",
    "empty": b"",
}


def describe_list(text: bytes) -> dict[str, Any]:
    """What becomes of a list: per path its digests, or that it is refused."""
    try:
        baseline = read_lists([text], Reading(form="checksums")).baseline
    except InputError:
        return {"refused": True}
    files = {
        entry.path.hex(): [str(digest) for digest in (entry.digest, *entry.further) if digest is not None]
        for entry in baseline.scan()
        if baseline.stated.speaks_of(entry)
    }
    return {"root": str(baseline.root), "weak": baseline.stated.is_weak, "files": files}


def make_list_vectors() -> dict[str, bytes]:
    """File name → content."""
    baseline = make_baseline()
    envelope, _ = split_document(memoryview(encode_document(baseline, [KEY])))
    described = [{"name": name, "list": text.hex(), **describe_list(text)} for name, text in LISTS.items()]
    return {
        "lists.json": json.dumps(described, indent=1).encode() + b"\n",
        "tree.mtree": b"".join(export(Export(baseline=baseline), "mtree", Losses())),
        "baseline-document.json": b"".join(export(Export(baseline=baseline, envelope=envelope), "json", Losses())),
    }


if __name__ == "__main__":
    for name, content in make_list_vectors().items():
        (DIRECTORY / name).write_bytes(content)
