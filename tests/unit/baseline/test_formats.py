"""What is exported is what other tools read, whatever the names are."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from intact.adapters.layout.directory import walk_directory
from intact.baseline.formats import export
from intact.ingest.tree import ingest_tree
from intact.model.errors import InputError
from intact.model.layer import Baseline

NAMES = (b"plain", b"two words", b"new\nline", b"back\\slash", b"carriage\rreturn", b"\xff\xfe", b"-dash", b"*star", b"\\n")


@pytest.fixture
def tree(tmp_path: Path) -> bytes:
    root = bytes(tmp_path / "tree")
    Path(tmp_path / "tree" / "sub").mkdir(parents=True)
    for name in NAMES:
        with open(root + b"/sub/" + name, "wb") as file:
            file.write(name * 100)
    return root


def read_tree(root: bytes) -> Baseline:
    return ingest_tree(walk_directory(root.decode()), source="dir:x")


def test_sha256sum_accepts_the_export_of_a_mounted_tree(tree: bytes) -> None:
    lines = b"".join(export(read_tree(tree), "sha256sum", prefix=tree))
    assert lines.count(b"\n") == len(NAMES)
    done = subprocess.run(["sha256sum", "--check", "--strict", "--quiet"], input=lines, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")


def test_the_export_is_what_sha256sum_writes(tree: bytes) -> None:
    paths = sorted(tree + b"/sub/" + name for name in NAMES)
    written = subprocess.run([b"sha256sum", *paths], capture_output=True, check=True).stdout
    assert b"".join(export(read_tree(tree), "sha256sum", prefix=tree)) == written


def test_json_keeps_names_that_are_no_text(tree: bytes) -> None:
    document = json.loads(b"".join(export(read_tree(tree), "json")))
    assert len(document["entries"]) == len(NAMES) + 2
    assert any("pathBase64" in entry for entry in document["entries"])
    assert document["grade"] == "FirstSeen"


def test_an_unknown_format_is_named(tree: bytes) -> None:
    with pytest.raises(InputError, match="sha256sum, json"):
        export(read_tree(tree), "xml")
    shutil.rmtree(tree)
