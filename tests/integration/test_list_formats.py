"""An image unpacked by tar, and what coreutils and mtree say of it: theirs verifies with us, and ours with them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lab import images, layers, oci
from tests.integration.watching import intact

pytestmark = pytest.mark.root
CLEAN, FINDINGS = 0, 1


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> oci.ImageLayout:
    upper = [
        layers.directory(b"/srv/data", 0o2770, uid=33, gid=33),
        layers.file(b"/srv/two words\n\\and more", b"x", 0o640, uid=33),
        layers.file(b"/srv/\xff\xfe*?[#=", b"y", 0o4755),
        layers.symlink(b"/srv/link", b"two words\n\\and more"),
        layers.character_device(b"/dev/null", (1, 3)),
        layers.file(b"/etc/passwd", b"other\n"),
    ]
    return images.busybox_image(tmp_path_factory.mktemp("image"), "docker.io/local/listed:1", upper_layers=[upper], compression="plain")


@pytest.fixture
def root(image: oci.ImageLayout, tmp_path: Path) -> Path:
    def blob(digest: str) -> Path:
        return image.directory / "blobs" / digest.replace(":", "/")

    index = json.loads((image.directory / "index.json").read_bytes())
    manifest = json.loads(blob(index["manifests"][0]["digest"]).read_bytes())
    target = tmp_path / "root"
    target.mkdir(mode=0o755)
    for layer in manifest["layers"]:
        subprocess.run(["tar", "--numeric-owner", "-xpf", blob(layer["digest"]), "-C", target], check=True)
    return target


def run(*arguments: str | Path, cwd: Path, data: bytes | None = None) -> bytes:
    return subprocess.run(arguments, cwd=cwd, input=data, capture_output=True, check=True).stdout


def baseline(*arguments: str | Path, code: int = CLEAN) -> str:
    done = intact("baseline", *arguments)
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    return str(done.stdout)


def test_our_lists_verify_with_their_programs(image: oci.ImageLayout, root: Path, tmp_path: Path) -> None:
    for program in ("sha256sum", "sha512sum", "md5sum"):
        baseline("export", image.source, "--format", program, "--prefix", root, "-o", tmp_path / program)
        run(program, "--check", "--strict", "--quiet", tmp_path / program, cwd=root)
    baseline("export", image.source, "--format", "mtree", "-o", tmp_path / "mtree")
    assert run("mtree", "-p", root, "-f", tmp_path / "mtree", cwd=root) == b""
    names = run("bsdtar", "-tf", tmp_path / "mtree", cwd=root)
    assert b"./srv/link" in names


@pytest.mark.parametrize("tool", ["sha256sum", "mtree", "bsdtar"])
def test_their_lists_verify_with_us(image: oci.ImageLayout, root: Path, tmp_path: Path, tool: str) -> None:
    match tool:
        case "sha256sum":
            found = run("find", ".", "-type", "f", "-print0", cwd=root)
            written = run("xargs", "-0", "sha256sum", cwd=root, data=found)
        case "mtree":
            written = run("mtree", "-c", "-p", ".", "-K", "sha256", cwd=root)
        case _:
            written = run("bsdtar", "-cf", "-", "--format=mtree", "--options=mtree:all", ".", cwd=root)
    (tmp_path / "list").write_bytes(written)
    baseline("diff", tmp_path / "list", image.source)
    baseline("import", tmp_path / "list", "-o", tmp_path / "b", "--image", image.source)
    checked = intact("check", tmp_path / "b", "--root", root)
    assert checked.returncode == CLEAN, checked.stdout
    (root / "etc" / "passwd").write_text("evil\n")
    assert intact("check", tmp_path / "b", "--root", root).returncode == FINDINGS
