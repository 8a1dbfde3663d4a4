"""What the harness writes as an image is what containerd unpacks: a wrong image would make every other test meaningless."""

import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from lab import layers, product
from lab.images import busybox_image, pack_entries
from lab.oci import Compression, ImageLayout, copy_image, write_layout
from lab.runtime import Runtime
from lab.settings import REPOSITORY

CAPABILITY = bytes.fromhex("0100000202040000000000000000000000000000")  # cap_net_bind_service=ep, capability.h
LONG = b"/long/" + b"n" * 120 + b"/" + b"m" * 120

KEPT = layers.file(b"/etc/kept", b"kept\n", 0o640, uid=1000, gid=1001, mtime_s=1_600_000_000)

LOWER = [
    layers.directory(b"/etc"),
    KEPT,
    layers.file(b"/etc/removed", b"removed\n"),
    layers.file(b"/etc/replaced", b"old\n"),
    layers.directory(b"/cache", 0o1777),
    layers.file(b"/cache/old", b"old\n"),
    layers.file(b"/setuid", b"#!\n", 0o4755),
    layers.file(b"/capable", b"#!\n", 0o755, xattrs={"security.capability": CAPABILITY}),
    layers.file(b"/noted", b"", xattrs={"user.note": b"a \xff\x01 note"}),
    layers.hard_link(b"/etc/linked", KEPT),
    layers.symlink(b"/etc/link", b"../setuid"),
    layers.character_device(b"/null", (1, 3)),
    layers.block_device(b"/loop", (7, 0)),
    layers.fifo(b"/pipe"),
    layers.file(b"/na\xefve", b"not UTF-8\n"),
    layers.file(LONG, b"long\n"),
]
UPPER = [
    layers.whiteout(b"/etc/removed"),
    layers.file(b"/etc/replaced", b"new\n", 0o600),
    layers.directory(b"/cache", 0o1777),
    layers.opaque(b"/cache"),
    layers.file(b"/cache/new", b"new\n"),
]


def unpack(runtime: Runtime, image: ImageLayout, directory: Path) -> Path:
    """The image's tree as containerd unpacked it, mounted read-only; the runtime removes the mount at its end."""
    runtime.import_image(image)
    directory.mkdir()
    runtime.ctr("images", "mount", image.name, str(directory))
    return directory


def read(path: Path) -> bytes:
    return path.read_bytes()


@pytest.fixture(params=["gzip", "zstd", "plain"])
def compression(request: pytest.FixtureRequest) -> Compression:
    return request.param  # type: ignore[no-any-return]


def test_containerd_unpacks_every_kind_of_entry_as_written(runtime: Runtime, layout_directory: Path, compression: Compression) -> None:
    packed = [pack_entries(entries, layout_directory, compression) for entries in (LOWER, UPPER)]
    image = write_layout(layout_directory, f"docker.io/local/kinds:{compression}", packed)
    tree = unpack(runtime, image, runtime.run_directory / f"kinds-{compression}")

    kept = (tree / "etc/kept").lstat()
    assert (stat.S_IMODE(kept.st_mode), kept.st_uid, kept.st_gid, kept.st_mtime) == (0o640, 1000, 1001, 1_600_000_000)
    assert (tree / "etc/linked").lstat().st_ino == kept.st_ino
    assert not (tree / "etc/removed").exists()
    assert read(tree / "etc/replaced") == b"new\n"
    assert os.listdir(tree / "cache") == ["new"]
    assert stat.S_IMODE((tree / "cache").lstat().st_mode) == 0o1777
    assert stat.S_IMODE((tree / "setuid").lstat().st_mode) == 0o4755
    assert os.getxattr(tree / "capable", "security.capability") == CAPABILITY
    assert os.getxattr(tree / "noted", "user.note") == b"a \xff\x01 note"
    assert os.readlink(tree / "etc/link") == "../setuid"
    assert (tree / "null").lstat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISCHR((tree / "null").lstat().st_mode)
    assert stat.S_ISBLK((tree / "loop").lstat().st_mode)
    assert stat.S_ISFIFO((tree / "pipe").lstat().st_mode)
    assert read(Path(os.fsdecode(os.fsencode(tree) + b"/na\xefve"))) == b"not UTF-8\n"
    assert read(Path(os.fsdecode(os.fsencode(tree) + LONG))) == b"long\n"


def test_the_same_inputs_give_the_same_image(tmp_path: Path, compression: Compression) -> None:
    images = [
        busybox_image(tmp_path / name, "docker.io/local/same:1", upper_layers=[UPPER], compression=compression) for name in ("one", "two")
    ]
    assert images[0].manifest_digest == images[1].manifest_digest


def test_images_with_different_names_have_different_content(tmp_path: Path) -> None:
    one, two = (busybox_image(tmp_path / tag, f"docker.io/local/name:{tag}") for tag in ("1", "2"))
    assert one.config_digest != two.config_digest


def test_skopeo_reads_the_layout_and_keeps_its_digest(tmp_path: Path) -> None:
    image = busybox_image(tmp_path / "layout", "docker.io/local/skopeo:1", upper_layers=[UPPER])
    copy_image(image.source, f"dir:{tmp_path / 'copy'}")
    manifest = (image.directory / "blobs/sha256" / image.manifest_digest.removeprefix("sha256:")).read_bytes()
    assert (tmp_path / "copy/manifest.json").read_bytes() == manifest


def test_the_containerfile_starts_the_same_program_as_the_same_user() -> None:
    lines = (REPOSITORY / "image/Containerfile").read_text().splitlines()
    assert f"ENTRYPOINT {json.dumps(list(product.ENTRYPOINT))}" in lines
    assert f"USER {product.USER}" in lines


def test_the_image_of_intact_has_no_shell_and_nothing_setuid(root: None) -> None:
    names = set()
    for path in product.layer_archives(product.ensure_image()):
        with tarfile.open(path) as archive:
            for member in archive:
                names.add(member.name)
                assert not member.mode & 0o6000, f"{member.name} is setuid or setgid"
    programs = {name for name in names if name.startswith(("usr/bin/", "usr/sbin/"))}
    assert programs == {"usr/bin/python3", "usr/bin/python3.13"}


def test_the_image_of_intact_is_the_same_when_built_again(root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = product.ensure_image()
    program = first.directory.parent
    monkeypatch.setattr(product, "_program_directory", lambda: tmp_path / "again")
    assert product.ensure_image().manifest_digest == first.manifest_digest
    assert program.exists()
