"""What is exported is what other tools read, and what they write is read, whatever the names are."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from intact.adapters.layout.directory import walk_directory
from intact.baseline.document import encode_document, join_document, split_document
from intact.baseline.formats.export import CHECKSUMS, FORMATS, Export, export
from intact.baseline.formats.losses import Losses
from intact.baseline.formats.read import Reading, detect, read_lists
from intact.compare.differ import compare
from intact.ingest.tree import ingest_tree
from intact.model.container import Container
from intact.model.digest import Algorithms
from intact.model.errors import InputError
from intact.model.finding import Difference
from intact.model.layer import Baseline, Grade
from intact.model.observation import Observation, Scope

NAMES = (b"plain", b"two words", b"new\nline", b"back\\slash", b"carriage\rreturn", b"\xff\xfe", b"-dash", b"*star", b"\\n", b"h#h=?[x]",
         b"tab\there", b"\xc3\xa9", b"\x01\x7f\x80\x9f", b"..dots", b"~")  # fmt: skip
ALL = Algorithms.choose(["sha256", "md5", "sha1", "sha224", "sha384", "sha512", "blake3"])


@pytest.fixture
def tree(tmp_path: Path) -> bytes:
    root = bytes(tmp_path / "tree")
    Path(tmp_path / "tree" / "sub" / "deep").mkdir(parents=True)
    for name in NAMES:
        with open(root + b"/sub/" + name, "wb") as file:
            file.write(name * 100)
    os.chmod(root + b"/sub/plain", 0o4755)
    os.symlink(b"a b#\n*\xff", root + b"/sub/link")
    os.mkfifo(root + b"/sub/fifo")
    return root


def read_tree(root: bytes, algorithms: Algorithms = ALL) -> Baseline:
    return ingest_tree(walk_directory(root.decode(), algorithms=algorithms), source="dir:x")


def write(baseline: Baseline, form: str, *, losses: Losses | None = None, prefix: bytes = b"", zero: bool = False) -> bytes:
    wanted = Export(baseline=baseline, prefix=prefix, zero=zero)
    return b"".join(export(wanted, form, Losses() if losses is None else losses))


def observe(root: bytes, algorithms: Algorithms = ALL) -> Observation:
    seen = tuple(read_tree(root, algorithms).scan())
    place = Container(id="x", name="x", image="", image_key=None, node="n")
    return Observation(container=place, scope=Scope.TREE, present=seen)


def check(baseline: Baseline, root: bytes) -> tuple[Difference, ...]:
    return compare(baseline, observe(root))


def list_with(program: str, root: bytes, *options: str) -> bytes:
    found = subprocess.run(["find", ".", "-type", "f", "-print0"], cwd=root, capture_output=True, check=True).stdout
    return subprocess.run(["xargs", "-0", program, *options], input=found, cwd=root, capture_output=True, check=True).stdout


COREUTILS = [program for program in CHECKSUMS if shutil.which(program)]


@pytest.mark.parametrize("program", COREUTILS)
def test_coreutils_accept_the_export_of_a_mounted_tree(tree: bytes, program: str) -> None:
    lines = write(read_tree(tree), program, prefix=tree)
    assert lines.count(b"\n") == len(NAMES)
    done = subprocess.run([program, "--check", "--strict", "--quiet"], input=lines, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("program", COREUTILS)
def test_the_export_is_what_coreutils_write(tree: bytes, program: str, zero: bool) -> None:
    paths = sorted(tree + b"/sub/" + name for name in NAMES)
    options = [b"-z"] if zero else []
    written = subprocess.run([program.encode(), *options, *paths], capture_output=True, check=True).stdout
    assert write(read_tree(tree), program, prefix=tree, zero=zero) == written


@pytest.mark.parametrize("options", [(), ("--tag",), ("-z",), ("--binary",)], ids=str)
@pytest.mark.parametrize("program", COREUTILS)
def test_a_list_by_coreutils_verifies_with_us_and_states_content_alone(tree: bytes, program: str, options: tuple[str, ...]) -> None:
    read = read_lists([list_with(program, tree, *options)], Reading(zero="-z" in options, source="test"))
    listed = read.baseline
    assert check(listed, tree) == ()
    assert listed.grade is Grade.SUPPLIED
    assert not listed.stated.aspects & {"mode", "uid", "gid", "size", "xattrs"}
    os.chmod(tree + b"/sub/plain", 0o600)
    os.symlink("x", tree + b"/added-link")
    os.mkdir(tree + b"/added-directory")
    assert check(listed, tree) == ()  # it does not know of them
    with open(tree + b"/sub/new\nline", "ab") as file:
        file.write(b"!")
    with open(tree + b"/added", "wb") as file:
        file.write(b"!")
    os.unlink(tree + b"/sub/~")
    found = [(difference.path, difference.change.value) for difference in check(listed, tree)]
    assert found == [(b"/added", "Added"), (b"/sub/new\nline", "Modified"), (b"/sub/~", "Deleted")]


def make_nodes(root: bytes) -> None:
    """What only root can make."""
    os.mknod(root + b"/sub/null", 0o20666, os.makedev(1, 3))
    os.mknod(root + b"/sub/disk", 0o60660, os.makedev(8, 1))
    os.chown(root + b"/sub/deep", 1234, 4294967294)


@pytest.mark.root
def test_mtree_finds_the_export_clean_on_the_tree(tree: bytes, tmp_path: Path) -> None:
    make_nodes(tree)
    specification = tmp_path / "specification"
    specification.write_bytes(write(read_tree(tree), "mtree"))
    done = subprocess.run([b"mtree", b"-p", tree, b"-f", bytes(specification)], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    os.chmod(tree + b"/sub/plain", 0o755)
    assert subprocess.run([b"mtree", b"-p", tree, b"-f", bytes(specification)], capture_output=True).returncode == 2


@pytest.mark.root
def test_libarchive_reads_the_export_with_every_name(tree: bytes, tmp_path: Path) -> None:
    make_nodes(tree)
    baseline = read_tree(tree)
    (tmp_path / "specification").write_bytes(write(baseline, "mtree"))
    done = subprocess.run(
        ["bsdtar", "-cf", "-", "--format=mtree", "--options=mtree:all", "@specification"], cwd=tmp_path, capture_output=True, check=True
    )
    again = read_lists([done.stdout], Reading(source="test")).baseline
    assert [(e.path, e.kind, e.mode, e.uid, e.gid, e.size_bytes, e.target, e.device) for e in again.scan() if e.path != b"/sub/link"] == [
        (e.path, e.kind, e.mode, e.uid, e.gid, e.size_bytes, e.target, e.device) for e in baseline.scan() if e.path != b"/sub/link"
    ]
    listed = subprocess.run(["bsdtar", "-tf", "specification"], cwd=tmp_path, capture_output=True, check=True).stdout
    assert len(listed.splitlines()) == sum(1 for _ in baseline.scan())


MTREE_WRITERS = {
    "mtree -c": ["mtree", "-c", "-p", ".", "-k", "uid,gid,mode,size,link,device,type"],
    "mtree -c with digests": ["mtree", "-c", "-p", ".", "-K", "sha256,sha512,md5"],
    "mtree -c all": ["mtree", "-c", "-p", ".", "-K", "all"],
    "bsdtar": ["bsdtar", "-cf", "-", "--format=mtree", "."],
    "bsdtar all": ["bsdtar", "-cf", "-", "--format=mtree", "--options=mtree:all", "."],
    "bsdtar indented": ["bsdtar", "-cf", "-", "--format=mtree", "--options=mtree:all,mtree:indent", "."],
    "bsdtar classic": ["bsdtar", "-cf", "-", "--format=mtree-classic", "."],
    "bsdtar use-set": ["bsdtar", "-cf", "-", "--format=mtree", "--options=mtree:use-set,mtree:sha384", "."],
}


@pytest.mark.root
@pytest.mark.parametrize("command", MTREE_WRITERS.values(), ids=list(MTREE_WRITERS))
def test_what_mtree_and_libarchive_write_verifies_with_us(tree: bytes, command: list[str]) -> None:
    make_nodes(tree)
    written = subprocess.run(command, cwd=tree, capture_output=True, check=True).stdout
    read = read_lists([written], Reading(source="test"))
    assert detect(written) == "mtree"
    assert [(d.path, d.fields) for d in check(read.baseline, tree) if d.change != "Unread"] == []
    os.chmod(tree + b"/sub/two words", 0o600)
    os.unlink(tree + b"/sub/link")
    os.symlink("other", tree + b"/sub/link")
    os.mkdir(tree + b"/added")
    found = [(d.path, d.change.value, d.fields) for d in check(read.baseline, tree) if d.change != "Unread"]
    assert (b"/added", "Added", ()) in found
    assert (b"/sub/two words", "Metadata", ("mode",)) in found
    assert (b"/sub/link", "Modified", ("target",)) in found


def test_an_export_is_read_back_as_far_as_the_format_goes(tree: bytes) -> None:
    baseline = read_tree(tree)
    for form, parts in (
        ("mtree", ("path", "kind", "mode", "uid", "gid", "size_bytes", "digest", "target")),
        ("sha256sum", ("path", "digest")),
    ):
        again = read_lists([write(baseline, form)], Reading(source="test")).baseline
        assert check(again, tree) == ()
        found = [[getattr(e, part) for part in parts] for e in again.scan() if again.stated.speaks_of(e) and e.kind != "symlink"]
        assert found == [[getattr(e, part) for part in parts] for e in baseline.scan() if again.stated.speaks_of(e) and e.kind != "symlink"]
        assert write(again, form) == write(baseline, form)


def test_json_gives_the_same_file_again(tree: bytes) -> None:
    baseline = read_tree(tree)
    file = encode_document(baseline)
    envelope, _ = split_document(memoryview(file))
    text = b"".join(export(Export(baseline=baseline, envelope=envelope), "json", Losses()))
    read = read_lists([text], Reading())
    assert read.unverified_envelope is not None
    assert join_document(read.unverified_envelope, read.baseline.layers) == file
    document = json.loads(text)
    assert any("pathBase64" in record for record in document["layers"][0]["records"])


@pytest.mark.parametrize("form", ["mtree", "sha256sum", "md5sum"])
def test_a_list_goes_through_json_without_becoming_more(tree: bytes, form: str) -> None:
    listed = read_lists([write(read_tree(tree), form)], Reading(source="test")).baseline
    again = read_lists([write(listed, "json")], Reading()).baseline
    assert (again.root, again.stated, again.grade) == (listed.root, listed.stated, Grade.SUPPLIED)
    assert write(again, "json") == write(listed, "json")
    if form != "mtree":
        records = json.loads(write(listed, "json"))["layers"][0]["records"]
        assert not any("mode" in record or "uid" in record or "size" in record for record in records if record["kind"] == "file")


def test_what_a_format_cannot_hold_is_counted(tree: bytes) -> None:
    baseline = read_tree(tree)
    losses = Losses()
    write(baseline, "sha256sum", losses=losses)
    assert losses.describe() == "3 directories, 1 symlink, 1 FIFO, size, mode, owner and extended attributes of all"
    losses = Losses()
    write(baseline, "mtree", losses=losses)
    assert losses.describe() == f"blake3 value of {len(NAMES)} entries, sha224 value of {len(NAMES)} entries"
    losses = Losses()
    write(baseline, "json", losses=losses)
    assert not losses


def test_entries_are_one_line_each(tree: bytes) -> None:
    lines = [json.loads(line) for line in write(read_tree(tree), "entries").splitlines()]
    assert len(lines) == len(NAMES) + 5
    assert {"kind": "symlink", "path": "/sub/link"}.items() <= {**lines[-1], **_find(lines, "/sub/link")}.items()


def _find(lines: Iterable[dict[str, object]], path: str) -> dict[str, object]:
    return next(line for line in lines if line.get("path") == path)


def test_an_algorithm_that_is_not_there_is_named(tree: bytes) -> None:
    with pytest.raises(InputError, match="known by sha256, not by md5"):
        write(read_tree(tree, Algorithms()), "md5sum")


def test_an_unknown_format_is_named(tree: bytes) -> None:
    with pytest.raises(InputError, match="checksums, sha256sum"):
        write(read_tree(tree), "xml")
    assert "mtree" in FORMATS
