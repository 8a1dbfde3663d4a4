"""A layer made from what commands changed is what those commands left: the services' images would otherwise prove nothing."""

import tarfile
from pathlib import Path

from lab import layers
from lab.images import busybox_entries
from lab.layers import Entry
from lab.oci import pack_layer, write_layout
from lab.overlay_layer import change_root, pack_upper
from lab.runtime import Runtime

BASE: list[Entry] = [
    *busybox_entries(),
    layers.symlink(b"/usr/bin/env", b"/bin/env"),
    *[layers.directory(b"/var/" + name) for name in (b"cache", b"cache/apt", b"lib", b"lib/apt", b"lib/apt/lists")],
    layers.directory(b"/srv"),
    layers.file(b"/srv/kept", b"kept\n"),
    layers.file(b"/srv/removed", b"removed\n"),
    layers.file(b"/srv/changed", b"old\n", 0o640),
    layers.directory(b"/srv/made-again"),
    layers.file(b"/srv/made-again/old", b"old\n"),
]
SCRIPT = """
cp /tmp/files/new /srv/new
rm /srv/removed
echo new >/srv/changed
rm -r /srv/made-again; mkdir /srv/made-again; echo new >/srv/made-again/new
echo shared >/srv/first; ln /srv/first /srv/second
chown 1000:1001 /srv/first
ln -s new /srv/link
"""
AFTER = {
    "srv": "",
    "srv/changed": "new\n",
    "srv/first": "shared\n",
    "srv/kept": "kept\n",
    "srv/link": "-> new",
    "srv/made-again": "",
    "srv/made-again/new": "new\n",
    "srv/new": "from the recipe\n",
    "srv/second": "shared\n",
}


def describe(path: Path) -> str:
    return f"-> {path.readlink()}" if path.is_symlink() else path.read_text() if path.is_file() else ""


def test_a_layer_holds_exactly_what_the_commands_changed(root: None, runtime: Runtime, tmp_path: Path) -> None:
    base, files, lists, build = (tmp_path / name for name in ("base", "files", "lists", "build"))
    for directory in (base, files, lists, build):
        directory.mkdir()
    archive = layers.build_tar(BASE)
    (tmp_path / "base.tar").write_bytes(archive)
    with tarfile.open(tmp_path / "base.tar") as tar:
        tar.extractall(base, filter="fully_trusted")
    (files / "new").write_text("from the recipe\n")
    upper = change_root(base, build, SCRIPT, lists=lists, files=files)
    pack_upper(upper, tmp_path / "layer.tar")
    packed = [pack_layer(one, tmp_path / "blobs/sha256") for one in (archive, tmp_path / "layer.tar")]
    image = write_layout(tmp_path, "docker.io/local/service:1", packed)
    runtime.import_image(image)
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    runtime.ctr("images", "mount", image.name, str(mounted))
    found = {str(path.relative_to(mounted)): describe(path) for path in [mounted / "srv", *(mounted / "srv").rglob("*")]}
    assert found == AFTER
    assert (mounted / "srv/first").stat().st_ino == (mounted / "srv/second").stat().st_ino
    owners = {name: (status.st_uid, status.st_gid) for name in ("first", "changed") if (status := (mounted / "srv" / name).stat())}
    assert owners == {"first": (1000, 1001), "changed": (0, 0)}
    assert (mounted / "srv/changed").stat().st_mode & 0o777 == 0o640
    assert not (mounted / "etc/resolv.conf").exists() and not list((mounted / "tmp").iterdir())
    runtime.ctr("images", "unmount", str(mounted))
