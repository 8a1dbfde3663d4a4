"""Lists in and out, and what changed between two images, as a person does it at a terminal."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import layers
from lab.images import pack_entries
from lab.oci import ImageLayout, write_layout

CLEAN, DIFFERS, UNCERTAIN, WRONG = 0, 1, 3, 10


def intact(*arguments: str | Path, cwd: Path, code: int = 0, text: str | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "intact", *arguments], capture_output=True, text=True, cwd=cwd, input=text)
    assert "Traceback" not in done.stderr
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("root\n")
    (root / "etc" / "odd\nname").write_text("x")
    (root / "link").symlink_to("etc/passwd")
    return root


def list_tree(tree: Path, program: str, out: Path) -> None:
    found = subprocess.run(["find", ".", "-type", "f", "-print0"], cwd=tree, capture_output=True, check=True).stdout
    out.write_bytes(subprocess.run(["xargs", "-0", program], input=found, cwd=tree, capture_output=True, check=True).stdout)


def test_a_list_somebody_brings_is_checked_in_what_it_states(tmp_path: Path, tree: Path) -> None:
    list_tree(tree, "sha256sum", tmp_path / "list")
    done = intact("baseline", "import", "list", "-o", "list.baseline", cwd=tmp_path)
    assert "2 files, Supplied" in done.stderr
    assert "never compared: size, mode, owner and extended attributes of all" in done.stderr
    checked = intact("check", "list.baseline", "--root", tree, cwd=tmp_path)
    assert "not compared, as the list does not state it: all that is no regular file, size, mode, uid, gid, xattrs" in checked.stderr
    (tree / "etc" / "passwd").chmod(0o4777)
    (tree / "etc" / "passwd").write_text("toor\n")
    row = json.loads(intact("check", "list.baseline", "--root", tree, "--output", "json", cwd=tmp_path, code=DIFFERS).stdout)[0]
    assert row["path"] == "/etc/passwd"
    assert row["expected"].keys() == {"kind", "digest"}  # nobody knows more
    shown = json.loads(intact("baseline", "show", "list.baseline", "--output", "json", cwd=tmp_path).stdout)
    assert (shown["grade"], shown["entries"], shown["notStated"][0]) == ("Supplied", {"file": 2}, "all that is no regular file")


def test_a_list_of_weak_sums_is_never_a_clean_bill(tmp_path: Path, tree: Path) -> None:
    list_tree(tree, "md5sum", tmp_path / "list")
    assert "only md5" in intact("baseline", "import", "list", "-o", "b", cwd=tmp_path).stderr
    assert "MD5 or SHA-1 alone" in intact("check", "b", "--root", tree, cwd=tmp_path, code=UNCERTAIN).stderr
    assert "MD5 or SHA-1 alone" in intact("baseline", "diff", "list", f"dir:{tree}", cwd=tmp_path, code=UNCERTAIN).stderr
    (tree / "etc" / "passwd").write_text("toor\n")
    intact("check", "b", "--root", tree, cwd=tmp_path, code=DIFFERS)
    list_tree(tree, "sha256sum", tmp_path / "strong")
    intact("baseline", "import", "strong", "-o", "b2", cwd=tmp_path)
    intact("check", "b2", "--root", tree, cwd=tmp_path, code=CLEAN)


def test_a_list_can_be_signed_and_serves_no_one_who_needs_a_whole_baseline(tmp_path: Path, tree: Path) -> None:
    list_tree(tree, "sha256sum", tmp_path / "list")
    intact("baseline", "keygen", "-o", "K", cwd=tmp_path)
    intact("baseline", "import", "list", "-o", "b", "--key", "K.pem", cwd=tmp_path)
    assert "Signed" in intact("baseline", "verify", "b", "--trust", "K.pub", cwd=tmp_path).stdout
    assert "was not verified" not in intact("check", "b", "--root", tree, "--trust", "K.pub", cwd=tmp_path).stderr
    intact("baseline", "keygen", "-o", "L", cwd=tmp_path)
    intact("check", "b", "--root", tree, "--trust", "L.pub", cwd=tmp_path, code=11)


def test_a_list_names_the_image_it_is_of(tmp_path: Path, tree: Path) -> None:
    image = write_layout(tmp_path / "layout", "docker.io/local/app:1", [pack_entries([layers.file(b"/etc/passwd", b"root\n")], tmp_path)])
    list_tree(tree, "sha256sum", tmp_path / "list")
    told = json.loads(
        intact("baseline", "import", "list", "-o", "b", "--image", image.source, "--output", "json", cwd=tmp_path).stdout
    )  # fmt: skip
    assert told["key"] == image.config_digest
    assert image.config_digest not in told["aliases"]
    assert told["aliases"]
    by_hand = intact("baseline", "import", "list", "-o", "c", "--key-digest", image.config_digest, "--output", "json", cwd=tmp_path)
    assert json.loads(by_hand.stdout)["key"] == image.config_digest
    intact("baseline", "import", "list", "-o", "d", "--image", f"dir:{tree}", cwd=tmp_path, code=WRONG)


def test_a_directory_of_snapshots_goes_in_and_comes_out_again(tmp_path: Path, tree: Path) -> None:
    snapshots = tmp_path / "snapshots" / "shop" / "team" / "web"
    snapshots.mkdir(parents=True)
    list_tree(tree, "sha256sum", snapshots / "1.2.sha256")
    list_tree(tree, "md5sum", snapshots / "1.2.MD5")
    list_tree(tree, "sha512sum", snapshots / "2.0.sha512")
    (snapshots / "README.txt").write_text("hello")
    done = intact("baseline", "import", "snapshots", "-o", "out", "--output", "json", cwd=tmp_path)
    assert "README.txt is no NAMESPACE/IMAGE/TAG.ALGORITHM" in done.stderr
    assert [(one["file"], one["algorithms"]) for one in json.loads(done.stdout)] == [
        ("out/shop/team/web/1.2.baseline", ["sha256", "md5"]),
        ("out/shop/team/web/2.0.baseline", ["sha512"]),
    ]
    intact("check", "out/shop/team/web/1.2.baseline", "--root", tree, cwd=tmp_path)
    intact("check", "out/shop/team/web/2.0.baseline", "--root", tree, cwd=tmp_path)
    written = intact("baseline", "export", "out/shop/team/web/1.2.baseline", "--format", "snapshots", "-o", "again", cwd=tmp_path).stdout
    assert written.split() == ["again/shop/team/web/1.2.sha256", "again/shop/team/web/1.2.md5"]
    ours, theirs = tmp_path / "again" / "shop" / "team" / "web" / "1.2.sha256", snapshots / "1.2.sha256"
    assert sorted(ours.read_text().splitlines()) == sorted(line.replace("./", "/") for line in theirs.read_text().splitlines())


def test_a_bad_snapshot_among_good_ones_leaves_nothing_behind(tmp_path: Path, tree: Path) -> None:
    snapshots = tmp_path / "snapshots" / "shop" / "web"
    snapshots.mkdir(parents=True)
    list_tree(tree, "sha256sum", snapshots / "1.sha256")
    (snapshots / "2.sha256").write_text("no list\n")
    assert "shop/web/2: line 1" in intact("baseline", "import", "snapshots", "-o", "out", cwd=tmp_path, code=WRONG).stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("import", "missing", "-o", "x"), "No such file"),
        (("import", "list", "-o", "-"), "not to stdout"),
        (("import", "list", "-o", "/dev/null"), "not a regular file"),
        (("import", "list", "list", "-o", "x", "--format", "mtree"), "only checksum lists"),
        (("import", "list", "-o", "x", "--format", "json"), "not a baseline in JSON"),
        (("import", "list", "-o", "x", "--key-digest", "sha256:1"), "not a digest"),
        (("import", "list", "-o", "x", "--below", "../y"), "leads out"),
        (("export", "list", "--format", "mtree", "--prefix", "/x"), "for checksum lists only"),
        (("export", "list", "--format", "md5sum"), "known by sha256, not by md5"),
        (("export", "list", "--format", "snapshots"), "needs -o DIR"),
        (("export", "list", "--format", "snapshots", "-o", "out", "--name", "../../etc/x"), "not NAMESPACE/IMAGE/TAG"),
        (("diff", "list", "missing"), "No such file"),
        (("diff", "list", "tree/etc/passwd"), "intact: tree/etc/passwd: line 1"),
        (("import", "tree/etc/passwd", "-o", "x"), "intact: tree/etc/passwd: line 1"),
    ],
)
def test_an_error_says_what_to_do_and_leaves_nothing(tmp_path: Path, tree: Path, arguments: tuple[str, ...], said: str) -> None:
    list_tree(tree, "sha256sum", tmp_path / "list")
    before = sorted(tmp_path.iterdir())
    assert said in intact("baseline", *arguments, cwd=tmp_path, code=WRONG).stderr
    assert sorted(tmp_path.iterdir()) == before


def test_lists_are_read_from_stdin_too(tmp_path: Path) -> None:
    line = hashlib.sha256(b"").hexdigest() + "  /x\n"
    assert intact("baseline", "export", "-", "--format", "sha256sum", cwd=tmp_path, text=line).stdout == line
    assert intact("baseline", "export", "-", "-o", "-", cwd=tmp_path, text=line).stdout == line
    assert not list(tmp_path.iterdir())


def test_a_size_that_no_list_states_is_shown_nowhere(tmp_path: Path, tree: Path) -> None:
    list_tree(tree, "sha256sum", tmp_path / "list")
    (tree / "etc" / "passwd").unlink()
    for sides in ((f"dir:{tree}", "list"), ("list", f"dir:{tree}")):
        lines = intact("baseline", "diff", *sides, cwd=tmp_path, code=DIFFERS).stdout.splitlines()
        assert [line for line in lines if line.endswith("/etc/passwd")], lines
    assert intact("baseline", "show", "list", cwd=tmp_path).stdout.splitlines()[-1].split()[2] == "-"


def test_findings_beyond_those_that_are_told_are_not_said_to_be_no_drift(tmp_path: Path, tree: Path) -> None:
    list_tree(tree, "sha256sum", tmp_path / "list")
    intact("baseline", "import", "list", "-o", "list.baseline", cwd=tmp_path)
    (tree / "etc" / "conf.d").mkdir()
    for number in range(1001):
        (tree / "etc" / "conf.d" / f"{number}.conf").write_text("x")
    (tree / "data").write_text("x")
    said = intact("check", "list.baseline", "--root", tree, cwd=tmp_path, code=DIFFERS).stderr
    assert "more findings, not told one by one: 1 like /** (control-file-added)" in said
    assert "not counted as drift: 1 like /data (data-added)" in said


# -- what changed ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def versions(tmp_path: Path) -> tuple[ImageLayout, ImageLayout]:
    base = pack_entries([layers.file(b"/usr/lib/base", b"b" * 5000), layers.file(b"/etc/old", b"old"), layers.directory(b"/srv")], tmp_path)
    first = pack_entries([layers.file(b"/srv/app", b"one"), layers.file(b"/srv/same", b"same")], tmp_path)
    second = pack_entries([layers.file(b"/srv/app", b"three"), layers.file(b"/srv/same", b"same", 0o755)], tmp_path)
    third = pack_entries([layers.whiteout(b"/etc/old"), layers.file(b"/srv/\x1b[31mred", b"x" * 2000)], tmp_path)
    return (
        write_layout(tmp_path / "v1", "docker.io/local/app:1", [base, first]),
        write_layout(tmp_path / "v2", "docker.io/local/app:2", [base, second, third]),
    )


def test_a_diff_of_two_images_reads_well(tmp_path: Path, versions: tuple[ImageLayout, ImageLayout]) -> None:
    one, two = (image.source for image in versions)
    done = intact("baseline", "diff", one, two, cwd=tmp_path, code=DIFFERS)
    told = [line for line in done.stdout.splitlines()[2:] if line]
    layer_2, layer_3 = (line for line in told if line.startswith("layer "))
    assert [line for line in told if line not in (layer_2, layer_3)] == [
        "1 of 3 layers shared",
        "  +         1 added  +2.0 kB",
        "  -         1 deleted  -3 B",
        "  ~         1 modified  +2 B",
        "  m         1 metadata only",
        "  ~ /srv/app  3 B -> 5 B",
        "  m /srv/same  mode 0644 -> 0755",
        "  - /etc/old  3 B",
        "  + /srv/\\x1b[31mred  2.0 kB",
    ]
    assert layer_2.startswith("layer 2 of B")
    assert layer_2.endswith("~1 m1  +2 B")
    assert layer_3.endswith("+1 -1  +2.0 kB")
    assert "reading layer 1/2" in done.stderr
    assert "\x1b" not in done.stdout


def test_a_diff_for_programs_has_all_of_it(tmp_path: Path, versions: tuple[ImageLayout, ImageLayout]) -> None:
    one, two = (image.source for image in versions)
    whole = json.loads(intact("baseline", "diff", one, two, "--output", "json", cwd=tmp_path, code=DIFFERS).stdout)
    assert whole["sharedLayers"] == [{"before": 1, "after": 1}]
    assert whole["totals"]["Deleted"] == {"count": 1, "bytes": -3}
    lines = intact("baseline", "diff", one, two, "--output", "jsonl", cwd=tmp_path, code=DIFFERS).stdout.splitlines()
    assert [json.loads(line) for line in lines] == whole["differences"]
    assert [(row["path"], row["change"], row["layer"]["number"]) for row in whole["differences"]] == [
        ("/etc/old", "Deleted", 3),
        ("/srv/\\x1b[31mred", "Added", 3),
        ("/srv/app", "Modified", 2),
        ("/srv/same", "Metadata", 2),
    ]


def test_the_same_image_differs_in_nothing_whatever_form_it_has(tmp_path: Path, versions: tuple[ImageLayout, ImageLayout]) -> None:
    source = versions[1].source
    intact("baseline", "build", source, "-o", "b", "--algorithm", "sha512", "--algorithm", "sha1", cwd=tmp_path)
    for form in ("sha512sum", "mtree", "json", "baseline"):
        intact("baseline", "export", "b", "--format", form, "-o", form, cwd=tmp_path)
        intact("baseline", "diff", source, form, cwd=tmp_path, code=CLEAN)
        intact("baseline", "diff", form, "b", cwd=tmp_path, code=CLEAN)
    intact("baseline", "export", "b", "--format", "sha1sum", "-o", "weak", cwd=tmp_path)
    intact("baseline", "diff", "b", "weak", cwd=tmp_path, code=UNCERTAIN)


def test_many_changes_are_told_by_directory_unless_all_are_asked_for(tmp_path: Path) -> None:
    base = pack_entries([layers.file(b"/etc/a", b"a")], tmp_path)
    many = pack_entries([layers.file(b"/usr/lib/d%d/f%d" % (n % 7, n), b"x" * n) for n in range(300)], tmp_path)
    write_layout(tmp_path / "v1", "docker.io/local/app:1", [base])
    write_layout(tmp_path / "v2", "docker.io/local/app:2", [base, many])
    short = intact("baseline", "diff", "oci:v1:1", "oci:v2:2", cwd=tmp_path, code=DIFFERS).stdout
    assert len(short.splitlines()) < 30
    assert "/usr/lib/d3/*" in short
    assert "--all names each" in short
    whole = intact("baseline", "diff", "oci:v1:1", "oci:v2:2", "--all", cwd=tmp_path, code=DIFFERS).stdout
    assert whole.count("/usr/lib/d") >= 300


def start(*arguments: str, cwd: Path, stdin: int | None = None) -> "subprocess.Popen[str]":
    """As from a terminal: a shell's background job would have SIGINT ignored."""
    command = [sys.executable, "-m", "intact", "baseline", *arguments]
    return subprocess.Popen(
        command, cwd=cwd, stdin=stdin, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )


@pytest.mark.parametrize("command", ["import", "export"])
def test_an_interrupt_while_reading_leaves_nothing_behind(tmp_path: Path, command: str) -> None:
    """The list is a FIFO that does not end, so that the interrupt always comes in the middle."""
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "list")
    with start(command, "list", "-o", "out/x", cwd=tmp_path) as process:
        endless = os.open(tmp_path / "list", os.O_WRONLY)  # waits until it reads
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(BrokenPipeError):
            while process.poll() is None:
                os.write(endless, b"a" * 64 + b"  /x\n")
                time.sleep(0.01)
        os.close(endless)
        assert process.stderr is not None
        said = process.stderr.read()
    assert (process.returncode, "Traceback" in said, list((tmp_path / "out").iterdir())) == (130, False, [])


def test_an_interrupt_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "list").write_bytes(b"".join(b"%064x  /some/where/d%d/file-%d\n" % (n, n % 1000, n) for n in range(60_000)))
    with start("export", "list", "--format", "json", "-o", "out/x", cwd=tmp_path) as process:
        while process.poll() is None and not any((tmp_path / "out").iterdir()):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
    assert "Traceback" not in said
    whole = [tmp_path / "out" / "x"]
    assert (process.returncode, list((tmp_path / "out").iterdir())) in [(130, []), (0, whole), (130, whole)]
    if (tmp_path / "out" / "x").exists():
        assert (tmp_path / "out" / "x").read_bytes().endswith(b"]\n}\n")
