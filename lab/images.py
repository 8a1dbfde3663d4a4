"""Images for tests and the demonstration: small ones around busybox, real ones from Debian packages.

In: a name, a version, files. Out: OCI layouts that run as a pod and under `ctr`. Never downloads an image from a registry.
Each image holds its own name, since a runtime shows one image id for two names with the same content.
"""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab import layers, oci
from lab.debian import debian_layer
from lab.layers import Entry
from lab.oci import Compression, ImageLayout, PackedLayer
from lab.settings import LabError

BUSYBOX = Path("/bin/busybox")
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
GROUP = b"root:x:0:\nnobody:x:65534:\n"
NGINX_PACKAGES = ("nginx-light",)


def busybox_entries() -> list[Entry]:
    """A small root: busybox with a link for each of its programs, and the directories every image has."""
    if not BUSYBOX.exists():
        raise LabError("no /bin/busybox: `make tools` installs busybox-static")
    names = ("bin", "dev", "etc", "proc", "root", "run", "sys", "usr", "usr/bin", "var")
    entries = [layers.directory(b"/" + name.encode()) for name in names]
    entries.append(layers.directory(b"/tmp", 0o1777))
    entries.append(layers.file(b"/bin/busybox", BUSYBOX.read_bytes(), 0o755))
    programs = subprocess.run([str(BUSYBOX), "--list"], capture_output=True, text=True, check=True).stdout.split()
    entries += [layers.symlink(f"/bin/{name}".encode(), b"busybox") for name in sorted({*programs} - {"busybox"})]
    return [*entries, layers.file(b"/etc/group", GROUP), layers.file(b"/etc/passwd", PASSWD)]


def busybox_image(
    directory: Path,
    name: str,
    *,
    files: Mapping[bytes, bytes] | None = None,
    upper_layers: Sequence[Sequence[Entry]] = (),
    command: Sequence[str] = ("sleep", "1d"),
    compression: Compression = "gzip",
) -> ImageLayout:
    """A busybox image with `files` in its first layer, and one more layer for each of `upper_layers`."""
    entries = [*busybox_entries(), layers.file(b"/etc/image-name", name.encode() + b"\n")]
    parents = {parent for path in files or {} for parent in _parents(path)}
    known = {entry.path for entry in entries}
    entries += [layers.directory(parent) for parent in sorted(parents - known)]
    entries += [layers.file(path, content) for path, content in sorted((files or {}).items())]
    packed = [pack_entries(entries, directory, compression)]
    packed += [pack_entries(upper, directory, compression) for upper in upper_layers]
    return oci.write_layout(directory, name, packed, command=command)


def web_image(directory: Path, name: str, version: str) -> ImageLayout:
    """Debian's nginx with a page that shows `version`: a base layer all versions share, and a layer of the site's own."""
    page = f"<!doctype html><title>shop</title><h1>shop {version}</h1>\n".encode()
    site = [
        layers.file(b"/etc/image-name", name.encode() + b"\n"),
        layers.directory(b"/usr/share/nginx"),
        layers.directory(b"/usr/share/nginx/html"),
        layers.file(b"/usr/share/nginx/html/index.html", page),
        layers.file(b"/usr/share/nginx/html/version.txt", version.encode() + b"\n"),
        layers.file(b"/etc/nginx/sites-enabled/default", NGINX_SITE),
        layers.whiteout(b"/var/www/html/index.nginx-debian.html"),
    ]
    packed = [debian_layer(NGINX_PACKAGES), pack_entries(site, directory)]
    return oci.write_layout(directory, name, packed, command=("nginx", "-g", "daemon off; error_log /dev/stderr;"), stop_signal="SIGQUIT")


NGINX_SITE = b"""server {
    listen 80 default_server;
    root /usr/share/nginx/html;
    index index.html;
    access_log off;
    location / { try_files $uri $uri/ =404; }
}
"""


def pack_entries(entries: Sequence[Entry], directory: Path, compression: Compression = "gzip") -> PackedLayer:
    """One layer from entries; its archive lies in `directory`/blobs/sha256, where a layout wants it."""
    return oci.pack_layer(layers.build_tar(entries), directory / "blobs/sha256", compression)


def _parents(path: bytes) -> list[bytes]:
    parts = path.strip(b"/").split(b"/")[:-1]
    return [b"/" + b"/".join(parts[: depth + 1]) for depth in range(len(parts))]
