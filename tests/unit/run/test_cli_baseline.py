"""`intact baseline` as a person uses it: files, exit codes, one line of error and never a traceback."""

import contextlib
import json
import os
import pty
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import layers
from lab.images import pack_entries
from lab.oci import ImageLayout, write_layout


def intact(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "intact", "baseline", *arguments], capture_output=True, text=True, cwd=cwd)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def image(tmp_path: Path) -> ImageLayout:
    packed = [pack_entries([layers.file(b"/etc/hosts", b"hello\n"), layers.file(b"/odd\nname", b"")], tmp_path)]
    return write_layout(tmp_path / "layout", "docker.io/local/app:1", packed)


def test_build_verify_show_and_export_a_signed_baseline(tmp_path: Path, image: ImageLayout) -> None:
    assert intact("keygen", "-o", "K", cwd=tmp_path).returncode == 0
    assert stat.S_IMODE((tmp_path / "K.pem").stat().st_mode) == 0o600
    built = intact("build", image.source, "-o", "app.baseline", "--key", "K.pem", cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    assert "reading layer 1/1" in built.stderr
    assert built.stdout.strip() in intact("verify", "app.baseline", "--trust", "K.pub", cwd=tmp_path).stdout
    shown = json.loads(intact("show", "app.baseline", "--trust", "K.pub", "--output", "json", cwd=tmp_path).stdout)
    assert (shown["key"], shown["grade"]) == (image.config_digest, "Signed")
    exported = intact("export", "app.baseline", "--format", "sha256sum", cwd=tmp_path)
    assert "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03  /etc/hosts\n" in exported.stdout
    assert "\\e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  /odd\\nname\n" in exported.stdout
    assert "not verified" in exported.stderr


def test_what_does_not_verify_has_exit_code_11(tmp_path: Path, image: ImageLayout) -> None:
    for key in ("K", "L"):
        intact("keygen", "-o", key, cwd=tmp_path)
    intact("build", image.source, "-o", "signed", "--key", "K.pem", cwd=tmp_path)
    intact("build", image.source, "-o", "unsigned", cwd=tmp_path)
    assert intact("verify", "signed", "--trust", "L.pub", cwd=tmp_path).returncode == 11
    assert intact("verify", "unsigned", "--trust", "K.pub", cwd=tmp_path).returncode == 11
    data = bytearray((tmp_path / "signed").read_bytes())
    data[data.index(b"payload") + 30] ^= 1
    (tmp_path / "signed").write_bytes(data)
    assert intact("verify", "signed", "--trust", "K.pub", cwd=tmp_path).returncode in (10, 11)


def test_a_terminal_shows_bytes_and_entries(tmp_path: Path, image: ImageLayout) -> None:
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "intact", "baseline", "build", image.source, "-o", "x"]
    terminal = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=its, env=terminal) as process:
        os.close(its)
        shown = b""
        with contextlib.suppress(OSError):  # EIO once it has ended
            while piece := os.read(ours, 4096):
                shown += piece
        os.close(ours)
    assert process.returncode == 0
    assert b"reading layer 1/1, 2 entries" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("build", "nginx", "-o", "x"), 10, "not an image name"),
        (("build", "oci:missing", "-o", "x"), 10, "does the path exist"),
        (("build", "oci:layout:none", "-o", "x"), 10, "tags: 1"),
        (("build", "docker-archive:layout/index.json", "-o", "x"), 10, "not a tar archive"),
        (("build", "docker://127.0.0.1:1/a/b:1", "-o", "x"), 12, "cannot be reached"),
        (("build", "oci:layout:1", "-o", "x", "--platform", "plan9/mips"), 10, "not plan9/mips"),
        (("build", "oci:layout:1", "-o", "missing/x"), 10, "missing is no directory (make it first)"),
        (("build", "oci:layout:1", "-o", "/dev/full/x"), 10, "/dev/full is no directory"),
        (("build", "oci:layout:1", "-o", "/proc/sys/x"), 13, "cannot write"),
        (("build", "containers-storage:[vfs@/missing]x", "-o", "x"), 10, "no store at"),
        (("keygen", "-o", "missing/K"), 10, "missing is no directory"),
        (("verify", "layout/index.json", "--trust", "layout/index.json"), 10, "neither a public key"),
        (("trust", "show", "missing"), 10, "intact: missing: No such file"),
        (("trust", "add", "x", "layout/index.json"), 10, "layout/index.json: not a public key"),
        (("show", "layout/index.json"), 10, "not a baseline in JSON"),
        (("build",), 2, "Missing argument"),
    ],
)
def test_an_error_says_what_to_do(tmp_path: Path, image: ImageLayout, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = intact(*arguments, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "x").exists()
    assert "reading" not in done.stderr  # said before the work


def test_an_error_names_the_file_it_is_about(tmp_path: Path, image: ImageLayout) -> None:
    for key in ("K", "L"):
        intact("keygen", "-o", key, cwd=tmp_path)
    intact("build", image.source, "-o", "signed", "--key", "K.pem", cwd=tmp_path)
    intact("build", image.source, "-o", "unsigned", cwd=tmp_path)
    assert "intact: unsigned: it is not signed" in intact("verify", "unsigned", "--trust", "K.pub", cwd=tmp_path).stderr
    assert "intact: signed: no trusted key signed it" in intact("verify", "signed", "--trust", "L.pub", cwd=tmp_path).stderr
    assert "intact: unsigned: it is not signed" in intact("diff", "signed", "unsigned", "--trust", "K.pub", cwd=tmp_path).stderr
    assert "intact: signed: key " in intact("sign", "signed", "--key", "K.pem", cwd=tmp_path).stderr
    refused = intact("import", "signed", "-o", "x", cwd=tmp_path)
    assert (refused.returncode, "signed is a baseline already" in refused.stderr) == (10, True)


@pytest.mark.parametrize("command", [("baseline", "verify", "/dev/zero", "--trust", "K.pub"), ("check", "/dev/zero", "--root", ".")])
def test_what_never_ends_is_not_read_to_its_end(tmp_path: Path, command: tuple[str, ...]) -> None:
    intact("keygen", "-o", "K", cwd=tmp_path)
    bounded = f'ulimit -v {4 << 20}; exec "$0" -m intact "$@"'
    done = subprocess.run(["sh", "-c", bounded, sys.executable, *command], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, "/dev/zero is not a baseline file" in done.stderr) == (10, True), done.stderr


def test_a_tree_that_skopeo_calls_an_image_is_not_taken_for_one_of_files(tmp_path: Path, image: ImageLayout) -> None:
    subprocess.run(["skopeo", "copy", "-q", image.source, f"dir:{tmp_path / 'copy'}"], check=True)
    done = intact("build", "dir:copy", "-o", "x", cwd=tmp_path)
    assert (done.returncode, "skopeo copy dir:copy oci:DIR" in done.stderr) == (10, True), done.stderr


def test_a_key_is_never_overwritten_nor_used_when_others_can_read_it(tmp_path: Path, image: ImageLayout) -> None:
    intact("keygen", "-o", "K", cwd=tmp_path)
    assert "never overwritten" in intact("keygen", "-o", "K", cwd=tmp_path).stderr
    (tmp_path / "K.pem").chmod(0o644)
    done = intact("build", image.source, "-o", "x", "--key", "K.pem", cwd=tmp_path)
    assert (done.returncode, "chmod 600" in done.stderr) == (11, True)


def test_a_key_pair_is_named_once_whichever_of_its_files_is_named(tmp_path: Path) -> None:
    assert intact("keygen", "-o", "ci.pem", cwd=tmp_path).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ci.pem", "ci.pub"]


def test_a_key_pair_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    limited = 'ulimit -f 0; exec "$0" -m intact baseline keygen -o K'
    done = subprocess.run(["sh", "-c", limited, sys.executable], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, "cannot write K.pem" in done.stderr) == (13, True), done.stderr
    assert not list(tmp_path.iterdir())


def test_an_interrupted_build_leaves_nothing_behind(tmp_path: Path) -> None:
    entries = [layers.file(b"/f%d" % number, b"x" * 100_000) for number in range(1500)]
    write_layout(tmp_path / "layout", "docker.io/local/app:1", [pack_entries(entries, tmp_path)])
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-m", "intact", "baseline", "build", "oci:layout:1", "-o", "out/x"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "reading" in process.stderr.readline()
        time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert "Traceback" not in said
    assert (process.returncode, list((tmp_path / "out").iterdir())) in [(130, []), (0, [tmp_path / "out" / "x"])]


def make_openssl_key(directory: Path, kind: list[str]) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    subprocess.run([openssl, "genpkey", *kind, "-out", "O.pem"], cwd=directory, check=True, capture_output=True)
    subprocess.run([openssl, "pkey", "-in", "O.pem", "-pubout", "-out", "O.pub"], cwd=directory, check=True, capture_output=True)
    (directory / "O.pem").chmod(0o600)


@pytest.mark.parametrize("kind", [["-algorithm", "ED25519"], ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]])
def test_keys_made_by_openssl_sign_and_verify(tmp_path: Path, image: ImageLayout, kind: list[str]) -> None:
    make_openssl_key(tmp_path, kind)
    assert intact("build", image.source, "-o", "x", "--key", "O.pem", cwd=tmp_path).returncode == 0
    assert intact("verify", "x", "--trust", "O.pub", cwd=tmp_path).returncode == 0


def test_a_key_of_another_kind_is_refused_by_name(tmp_path: Path, image: ImageLayout) -> None:
    make_openssl_key(tmp_path, ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"])
    for arguments in (("build", image.source, "-o", "x", "--key", "O.pem"), ("verify", "x", "--trust", "O.pub")):
        done = intact(*arguments, cwd=tmp_path)
        assert (done.returncode, "P-256" in done.stderr) == (10, True), done.stderr


def test_signatures_are_added_counted_and_replaced(tmp_path: Path, image: ImageLayout) -> None:
    for key, kind in (("K", "ed25519"), ("L", "ecdsa-p256")):
        assert intact("keygen", "-o", key, "--type", kind, cwd=tmp_path).returncode == 0
    built = intact("build", image.source, "-o", "app", "--key", "K.pem", cwd=tmp_path)
    assert intact("sign", "app", "--key", "L.pem", cwd=tmp_path).stdout == built.stdout
    verified = json.loads(intact("verify", "app", "--trust", "L.pub", "--output", "json", cwd=tmp_path).stdout)
    assert [(one["counts"], one["why"]) for one in verified["signatures"]] == [(False, "not a trusted key"), (True, "")]
    again = intact("sign", "app", "--key", "L.pem", cwd=tmp_path)
    assert (again.returncode, "already" in again.stderr) == (10, True)
    assert intact("sign", "app", "--key", "L.pem", "--replace", "-o", "alone", cwd=tmp_path).returncode == 0
    assert intact("verify", "alone", "--trust", "K.pub", cwd=tmp_path).returncode == 11
    assert intact("verify", "app", "--trust", "K.pub", cwd=tmp_path).returncode == 0


def test_a_damaged_file_is_not_signed(tmp_path: Path, image: ImageLayout) -> None:
    intact("keygen", "-o", "K", cwd=tmp_path)
    intact("build", image.source, "-o", "app", cwd=tmp_path)
    data = bytearray((tmp_path / "app").read_bytes())
    data[-40] ^= 1
    (tmp_path / "app").write_bytes(data)
    assert intact("sign", "app", "--key", "K.pem", cwd=tmp_path).returncode == 10
    assert (tmp_path / "app").read_bytes() == data


@pytest.mark.parametrize("file", ["trust.yaml", "trust.json"])
def test_a_key_is_rotated_expired_and_revoked_in_a_trust_root(tmp_path: Path, image: ImageLayout, file: str) -> None:
    for key in ("K", "L"):
        intact("keygen", "-o", key, cwd=tmp_path)
        intact("build", image.source, "-o", f"by-{key}", "--key", f"{key}.pem", cwd=tmp_path)
        assert intact("trust", "add", file, f"{key}.pub", "--name", f"ci {key}", cwd=tmp_path).returncode == 0

    def verify(signed: str) -> tuple[int, str]:
        done = intact("verify", signed, "--trust", file, cwd=tmp_path)
        return done.returncode, done.stdout + done.stderr

    assert (verify("by-K")[0], verify("by-L")[0]) == (0, 0)
    assert "ci K" in verify("by-K")[1]
    assert intact("trust", "expire", file, "ci K", "--at", "2020-01-01", cwd=tmp_path).returncode == 0
    assert (verify("by-K")[0], verify("by-L")[0]) == (11, 0)
    assert "expired at 2020-01-01T00:00:00Z" in verify("by-K")[1]
    assert intact("trust", "revoke", file, "L.pub", "--reason", "stolen from CI", cwd=tmp_path).returncode == 0
    code, said = verify("by-L")
    assert (code, "stolen from CI" in said) == (11, True)
    shown = intact("trust", "show", file, cwd=tmp_path).stdout
    assert ("version 4" in shown, "stolen from CI" in shown) == (True, True)
    assert intact("trust", "add", file, "L.pub", cwd=tmp_path).returncode == 10
