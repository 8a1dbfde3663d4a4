"""`intact baseline` as a person uses it: files, exit codes, one line of error and never a traceback."""

import json
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


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("build", "nginx", "-o", "x"), 10, "not an image name"),
        (("build", "oci:missing", "-o", "x"), 10, "does the path exist"),
        (("build", "oci:layout:none", "-o", "x"), 10, "tags: 1"),
        (("build", "docker-archive:layout/index.json", "-o", "x"), 10, "not a tar archive"),
        (("build", "docker://127.0.0.1:1/a/b:1", "-o", "x"), 12, "cannot be reached"),
        (("build", "oci:layout:1", "-o", "x", "--platform", "plan9/mips"), 10, "not plan9/mips"),
        (("build", "oci:layout:1", "-o", "missing/x"), 13, "cannot write"),
        (("build", "oci:layout:1", "-o", "/dev/full/x"), 13, "cannot write"),
        (("verify", "layout/index.json", "--trust", "layout/index.json"), 10, "not a public key"),
        (("show", "layout/index.json"), 10, "not a baseline file"),
        (("build",), 2, "Missing argument"),
    ],
)
def test_an_error_says_what_to_do(tmp_path: Path, image: ImageLayout, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = intact(*arguments, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "x").exists()


def test_a_key_is_never_overwritten_nor_used_when_others_can_read_it(tmp_path: Path, image: ImageLayout) -> None:
    intact("keygen", "-o", "K", cwd=tmp_path)
    assert "never overwritten" in intact("keygen", "-o", "K", cwd=tmp_path).stderr
    (tmp_path / "K.pem").chmod(0o644)
    done = intact("build", image.source, "-o", "x", "--key", "K.pem", cwd=tmp_path)
    assert (done.returncode, "chmod 600" in done.stderr) == (11, True)


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
