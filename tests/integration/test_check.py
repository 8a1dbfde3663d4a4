"""`intact check` as people and scripts use it, in both forms: what it prints where, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import images, layers, oci
from lab.runtime import Runtime
from tests.integration.watching import intact

NAME = "docker.io/local/checked:1"
CLEAN, FINDINGS, USAGE, UNOBSERVED, WRONG_INPUT, UNTRUSTED = 0, 1, 2, 3, 10, 11
PAGE = "/srv/app/page.html"
COLUMNS = ["LEVEL", "CHANGE", "PATH", "EXPECTED", "ACTUAL", "RULE"]


@pytest.fixture(scope="module")
def image(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> oci.ImageLayout:
    directory = tmp_path_factory.mktemp("checked")
    upper = [layers.file(b"/srv/app/main.sh", b"#!/bin/sh\n", 0o755), layers.whiteout(b"/srv/app/old.sh")]
    files = {b"/srv/app/old.sh": b"old\n", b"/srv/app/page.html": b"<h1>shop</h1>\n"}
    image = images.busybox_image(directory, NAME, files=files, upper_layers=[upper])
    runtime.import_image(image)
    return image


@contextlib.contextmanager
def container(runtime: Runtime, id: str) -> Iterator[None]:
    runtime.run(NAME, id)
    try:
        yield
    finally:
        runtime.stop(id)


def check(*arguments: str | Path, code: int) -> subprocess.CompletedProcess[str]:
    done = intact("check", *arguments)
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def found(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in json.loads(done.stdout)}


# -- a directory with a baseline file ------------------------------------------------------------------------------------


@pytest.fixture
def root_directory(runtime: Runtime, image: oci.ImageLayout, tmp_path: Path) -> Path:
    """What an administrator would have unpacked: the container's root, copied."""
    with container(runtime, "unpacked"):
        target = tmp_path / "root"
        subprocess.run(["cp", "-a", "--one-file-system", runtime.rootfs("unpacked"), target], check=True)
    for stub in ("dev", "proc", "sys"):  # the runtime makes its mount points
        assert (target / stub).is_dir()
    return target


@pytest.fixture
def baseline(image: oci.ImageLayout, tmp_path: Path) -> Path:
    file = tmp_path / "baseline"
    assert intact("baseline", "keygen", "-o", tmp_path / "K").returncode == 0
    assert intact("baseline", "build", image.source, "-o", file, "--key", tmp_path / "K.pem").returncode == 0
    return file


def test_a_directory_like_its_image_is_clean_and_stdout_stays_empty(root_directory: Path, baseline: Path, tmp_path: Path) -> None:
    done = check(baseline, "--root", root_directory, "--trust", tmp_path / "K.pub", code=CLEAN)
    assert done.stdout == "" and "nothing differs" in done.stderr and "not verified" not in done.stderr
    assert json.loads(check(baseline, "--root", root_directory, "--output", "json", code=CLEAN).stdout) == []
    unverified = check(baseline, "--root", root_directory, "--output", "jsonl", code=CLEAN)
    assert unverified.stdout == "" and "not verified" in unverified.stderr


def test_every_kind_of_change_of_a_directory_is_found_in_every_output(root_directory: Path, baseline: Path) -> None:
    app = root_directory / "srv/app"
    (app / "shell.php").write_text("bad\n")
    (app / "page.html").write_text("<h1>sh0p</h1>\n")
    (app / "main.sh").unlink()
    (root_directory / "bin/busybox").chmod(0o4755)
    (root_directory / "etc/group").unlink()
    (root_directory / "etc/group").symlink_to("/tmp/group")
    changes = {
        "/srv/app/shell.php": "Added",
        "/srv/app/page.html": "Modified",
        "/srv/app/main.sh": "Deleted",
        "/bin/busybox": "Metadata",
        "/etc/group": "Type",
    }
    rows = found(check(baseline, "--root", root_directory, "--output", "json", code=FINDINGS))
    assert {path: row["change"] for path, row in rows.items()} == changes
    (run,) = json.loads(check(baseline, "--root", root_directory, "--output", "sarif", code=FINDINGS).stdout)["runs"]
    assert {result["message"]["text"].split(":")[0] for result in run["results"]} == {
        f"{change} {path}" for path, change in changes.items()
    }
    assert rows["/srv/app/page.html"]["expected"]["digest"] != rows["/srv/app/page.html"]["actual"]["digest"]
    assert (rows["/bin/busybox"]["expected"]["mode"], rows["/bin/busybox"]["actual"]["mode"]) == ("0755", "4755")
    assert rows["/bin/busybox"]["fields"] == ["mode"]
    lines = check(baseline, "--root", root_directory, "--output", "jsonl", code=FINDINGS).stdout.splitlines()
    assert {json.loads(line)["path"] for line in lines} == changes.keys()
    table = check(baseline, "--root", root_directory, code=FINDINGS).stdout.splitlines()
    assert table[0].split() == COLUMNS and len(table) == 1 + len(changes)
    assert {line.split()[2]: line.split()[1] for line in table[1:]} == changes


def test_a_name_made_for_terminals_is_shown_harmless(root_directory: Path, baseline: Path) -> None:
    (root_directory / "srv/app/\x1b[2Jclean\n.sh").write_text("bad\n")
    done = check(baseline, "--root", root_directory, code=FINDINGS)
    assert "\x1b" not in done.stdout and len(done.stdout.splitlines()) == 2


def test_a_baseline_that_does_not_verify_is_refused_before_the_directory_is_read(
    root_directory: Path, baseline: Path, tmp_path: Path
) -> None:
    assert intact("baseline", "keygen", "-o", tmp_path / "L").returncode == 0
    done = check(baseline, "--root", root_directory, "--trust", tmp_path / "L.pub", code=UNTRUSTED)
    assert done.stdout == "" and done.stderr.count("\n") == 1
    cut = tmp_path / "cut"
    cut.write_bytes(baseline.read_bytes()[:-40])
    assert intact("check", cut, "--root", root_directory).returncode in (WRONG_INPUT, UNTRUSTED)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{baseline}", "--root", "{tmp}/absent"), "absent"),
        (("{baseline}", "--root", "{baseline}"), "Not a directory"),
        (("{tmp}/absent", "--root", "{tmp}"), "absent"),
        (("{tmp}/K.pub", "--root", "{tmp}"), "baseline"),
        (("{baseline}", "--root", "{tmp}", "--trust", "{tmp}/absent.pub"), "absent.pub"),
    ],
)
def test_wrong_input_is_one_line_that_names_it(baseline: Path, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = check(*(word.format(baseline=baseline, tmp=tmp_path) for word in arguments), code=WRONG_INPUT)
    assert said in done.stderr and done.stdout == ""


@pytest.mark.parametrize("arguments", [(), ("B",), ("--root", "/"), ("B", "--container", "x"), ("--output", "xml"), ("--no-such-option",)])
def test_wrong_usage_is_told_from_wrong_input(arguments: tuple[str, ...]) -> None:
    assert "Usage:" in check(*arguments, code=USAGE).stderr


# -- a running container -------------------------------------------------------------------------------------------------


def test_an_untouched_container_is_clean_and_a_touched_one_too(runtime: Runtime, image: oci.ImageLayout) -> None:
    with container(runtime, "pristine"):
        done = check("--container", "pristine", "--socket", runtime.address, code=CLEAN)
        assert done.stdout == "" and "nothing differs" in done.stderr
        runtime.exec("pristine", ["touch", "/srv/app/main.sh", "/etc/passwd"])
        runtime.exec("pristine", ["sh", "-c", "chmod 700 /srv/app/main.sh; chmod 755 /srv/app/main.sh"])
        assert json.loads(check("--container", "prist", "--socket", runtime.address, "--output", "json", code=CLEAN).stdout) == []


def test_what_changed_in_a_container_is_found_in_every_output(runtime: Runtime, image: oci.ImageLayout) -> None:
    with container(runtime, "touched"):
        script = "echo bad > /srv/app/shell.php; echo x >> /srv/app/page.html; rm /etc/passwd; chmod u+s /bin/busybox"
        runtime.exec("touched", ["sh", "-c", script])
        changes = {"/srv/app/shell.php": "Added", "/srv/app/page.html": "Modified", "/etc/passwd": "Deleted", "/bin/busybox": "Metadata"}
        options = ("--container", "touched", "--socket", runtime.address)
        rows = found(check(*options, "--output", "json", code=FINDINGS))
        assert {path: row["change"] for path, row in rows.items()} == changes
        assert all(row["container"]["image"] == NAME and row["baseline"]["grade"] == "Verified" for row in rows.values())
        lines = check(*options, "--output", "jsonl", code=FINDINGS).stdout.splitlines()
        assert {json.loads(line)["path"] for line in lines} == changes.keys()
        table = check(*options, code=FINDINGS).stdout.splitlines()
        assert table[0].split() == COLUMNS and {line.split()[2] for line in table[1:]} == changes.keys()


def test_a_change_beneath_the_container_is_found_unless_layers_are_left_out(runtime: Runtime, image: oci.ImageLayout) -> None:
    """Somebody with root on the host edits an unpacked layer: no writable layer shows it."""
    with container(runtime, "beneath"):
        lower = next(path for layer in runtime.lowers("beneath") if (path := layer / "srv/app/page.html").exists())
        before = lower.read_bytes()
        options = ("--container", "beneath", "--socket", runtime.address, "--output", "json")
        try:
            lower.write_bytes(b"<h1>owned</h1>\n")
            rows = found(check(*options, code=FINDINGS))
            assert [(path, row["scope"], row["rule"]) for path, row in rows.items()] == [(PAGE, "layers", "read-only-layer-changed")]
            check(*options, "--no-layers", code=CLEAN)
        finally:
            lower.write_bytes(before)


def test_what_could_not_be_read_is_neither_clean_nor_a_finding(runtime: Runtime, image: oci.ImageLayout) -> None:
    """A file that says its content lies elsewhere cannot be compared (trusted.overlay.metacopy)."""
    with container(runtime, "unread"):
        runtime.exec("unread", ["touch", "/srv/app/page.html"])
        os.setxattr(runtime.upper("unread") / "srv/app/page.html", "trusted.overlay.metacopy", b"")
        done = check("--container", "unread", "--socket", runtime.address, "--output", "json", code=UNOBSERVED)
        assert [(row["type"], row["path"]) for row in json.loads(done.stdout)] == [("unobserved", "/srv/app/page.html")]
        assert "not observed: /srv/app/page.html: metacopy" in done.stderr
        runtime.exec("unread", ["sh", "-c", "echo bad > /srv/app/shell.php"])
        check("--container", "unread", "--socket", runtime.address, code=FINDINGS)


def test_a_container_that_is_not_there_is_named_and_two_that_fit_are(runtime: Runtime, image: oci.ImageLayout) -> None:
    with container(runtime, "twin-a"), container(runtime, "twin-b"):
        absent = check("--container", "nobody", "--socket", runtime.address, code=WRONG_INPUT)
        assert "nobody" in absent.stderr and "here run twin-a, twin-b" in absent.stderr
        both = check("--container", "twin", "--socket", runtime.address, code=WRONG_INPUT)
        assert "twin-a" in both.stderr and "twin-b" in both.stderr


def test_no_runtime_is_an_error_that_says_what_to_name(root: None, tmp_path: Path) -> None:
    done = check("--container", "x", "--socket", tmp_path / "no.sock", code=WRONG_INPUT)
    assert "no.sock" in done.stderr and "name the socket" in done.stderr


def test_an_image_whose_blobs_are_gone_cannot_be_vouched_for(runtime: Runtime, tmp_path: Path) -> None:
    """Some nodes discard compressed layers; then there is no baseline to build here, and it says so."""
    name = "docker.io/local/discarded:1"
    layout = images.busybox_image(tmp_path / "discarded", name)
    runtime.import_image(layout)
    runtime.run(name, "discarded")
    blobs = runtime.root / "io.containerd.content.v1.content/blobs/sha256"
    try:
        with contextlib.ExitStack() as back:
            for archive in (layout.directory / "blobs/sha256").iterdir():
                blob = blobs / archive.name
                if blob.exists() and tarfile_like(blob):
                    back.callback(shutil.copy2, archive, blob)
                    blob.unlink()
            done = intact("check", "--container", "discarded", "--socket", str(runtime.address))
            assert done.returncode >= WRONG_INPUT and "Traceback" not in done.stderr, done.stderr
            assert done.stdout == "" and "sha256:" in done.stderr
    finally:
        runtime.stop("discarded")


def tarfile_like(path: Path) -> bool:
    """Whether a blob is a layer, not a document."""
    try:
        with tarfile.open(path):
            return True
    except tarfile.TarError:
        return False
