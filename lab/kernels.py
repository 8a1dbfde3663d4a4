"""Other kernels, for real: Debian's, booted under QEMU, with a program of ours in the image's own Python.

In: a kernel series and a program with the files it needs. Out: what it printed. Nothing is installed on the machine, no KVM is needed; a
kernel is fetched once and kept in the cache. 10 to 20 s a run on two quiet cores.

1. The packages come from the machine's own mirror, by a private state of apt's: the machine's sources stay as they are.
2. An initial root with busybox loads the drivers, mounts a disk image, and runs the program there, with cgroup v2.
3. The machine ends with its program, or after `TIMEOUT_S`.
"""

import gzip
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab import product
from lab.binaries import finished_directory, lock
from lab.images import BUSYBOX
from lab.processes import run
from lab.progress import step
from lab.settings import LabError, cache_dir

KERNELS: Mapping[str, tuple[str, str]] = {
    "5.10": ("bullseye", "linux-image-cloud-amd64"),
    "6.1": ("bookworm", "linux-image-cloud-amd64"),
    "6.12": ("bookworm", "linux-image-6.12-cloud-amd64"),
}
"""Series: Debian's suite and the package that always names the newest of it."""
TIMEOUT_S = 600
CODE = "/code"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DRIVERS = ("virtio_pci", "virtio_blk", "ext4", "overlay")
_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for driver in {drivers}; do modprobe $driver 2>/dev/null; done
n=0; until [ -b /dev/vda ] || [ $n -gt 100 ]; do sleep 0.1; n=$((n+1)); done
mount -t ext4 /dev/vda /disk || poweroff -f
mount -t proc proc /disk/proc; mount -t sysfs sys /disk/sys; mount -t devtmpfs dev /disk/dev; mount -t tmpfs tmp /disk/run
mount -t cgroup2 cgroup /disk/sys/fs/cgroup
PYTHONPATH={code}/src:{code} PYTHONDONTWRITEBYTECODE=1 chroot /disk /usr/bin/python3 -u {code}/{program} >/dev/ttyS1
echo "{marker} $?"
poweroff -f
"""
_MARKER = "intact-guest-ended"


def ensure_kernel(series: str) -> Path:
    """The unpacked package of a kernel of `series`, its modules uncompressed."""
    suite, package = KERNELS[series]
    target = cache_dir() / f"kernel-{series}"
    with lock(target.name):
        if not target.exists():
            with finished_directory(target) as partial, step(f"kernel {series} from Debian {suite}"):
                _unpack(_download(suite, package, partial), partial)
    return target


def run_guest(series: str, program: str, code: Path, files: Iterable[str]) -> str:
    """Boots `series` and runs `program`, one of `files` (files or directories below `code`). Returns what it printed; LabError with all
    of the machine's talk if it did not end well. The program prints to a serial line of its own: firmware and kernel talk on the first."""
    kernel, python = ensure_kernel(series), product.ensure_dependencies()
    with tempfile.TemporaryDirectory(prefix="intact-guest-") as name:
        work = Path(name)
        initial = _pack_initial(kernel, work, program)
        disk = _make_disk(python, work, code, files)
        machine = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1G", "-smp", "2", "-nographic", "-no-reboot"]
        printed = work / "printed"
        machine += ["-serial", "mon:stdio", "-serial", f"file:{printed}"]
        machine += ["-kernel", str(next((kernel / "boot").glob("vmlinuz-*"))), "-initrd", str(initial), "-nic", "none"]
        machine += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe", "-append", "console=ttyS0 panic=1 quiet"]
        try:
            done = subprocess.run(machine, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as late:  # 3
            raise LabError(f"kernel {series} did not end within {TIMEOUT_S} s:\n{late.stdout!r}") from None
        ended = re.search(rf"{_MARKER} (\d+)", done.stdout)
        if ended is None or ended[1] != "0":
            raise LabError(f"{program} did not end well on kernel {series}:\n{done.stdout[-6000:]}{done.stderr[-1000:]}")
        return printed.read_text(errors="replace")


def _download(suite: str, package: str, directory: Path) -> Path:
    """1. The package that `package` depends on."""
    mirror = os.environ.get("INTACT_DEBIAN_MIRROR") or _own_mirror()
    state = directory / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True)
    signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
    sources = [f"deb {signed}{mirror} {suite} main", f"deb {signed}{mirror}-security {suite}-security main"]
    (state / "sources.list").write_text("\n".join(sources) + "\n")
    (state / "status").touch()
    private = {
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",
        "Acquire::Retries": "3",
        "Acquire::Languages": "none",
        "Acquire::Check-Valid-Until": "false",  # of a suite that gets no more updates
    }
    options = [word for key, value in private.items() for word in ("-o", f"{key}={value}")]
    run("apt-get", *options, "-q", "update")
    depends = run("apt-cache", *options, "depends", package).stdout
    named = re.search(r"Depends: (linux-image-\d\S+)", depends)
    if named is None:
        raise LabError(f"{package} of Debian {suite} names no kernel:\n{depends}")
    run("apt-get", *options, "-q", "download", named[1], cwd=state)
    return next(state.glob("*.deb"))


def _own_mirror() -> str:
    """Where this machine's Debian packages come from."""
    sites = run("apt-get", "indextargets", "--format", "$(SITE)").stdout.split()
    found = next((site.rstrip("/") for site in sites if site.rstrip("/").endswith("/debian")), None)
    if found is None:
        raise LabError("apt has no Debian mirror; name one in INTACT_DEBIAN_MIRROR")
    return found


def _unpack(package: Path, directory: Path) -> None:
    run("dpkg-deb", "-x", package, directory)
    shutil.rmtree(package.parent)
    modules = next((directory / "lib/modules").iterdir())
    packed = [str(path) for path in modules.rglob("*.ko.xz")]
    for first in range(0, len(packed), 500):
        run("unxz", *packed[first : first + 500])  # busybox loads no compressed modules
    run("depmod", "-b", directory, modules.name)


def _pack_initial(kernel: Path, work: Path, program: str) -> Path:
    """2. busybox, the drivers with what they need, and the init script."""
    root = work / "initial"
    for name in ("bin", "proc", "sys", "dev", "disk"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    modules = next((kernel / "lib/modules").iterdir())
    own = root / "lib/modules" / modules.name
    own.mkdir(parents=True)
    for index in modules.glob("modules.*"):
        shutil.copy(index, own)
    for driver in _DRIVERS:
        done = run("modprobe", "-d", kernel, "-S", modules.name, "--show-depends", driver).stdout
        for path in re.findall(r"^insmod (\S+)", done, re.MULTILINE):
            within = Path(path).relative_to(modules) if Path(path).is_relative_to(modules) else Path(path[path.index("kernel/") :])
            (own / within).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(modules / within, own / within)
    (root / "init").write_text(_INIT.format(drivers=" ".join(_DRIVERS), code=CODE, program=program, marker=_MARKER))
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    archive = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names.encode(), capture_output=True, check=True
    ).stdout
    (work / "initial.gz").write_bytes(gzip.compress(archive, 1))
    return work / "initial.gz"


def _make_disk(python: Path, work: Path, code: Path, files: Iterable[str]) -> Path:
    root = work / "root"
    run("cp", "-a", python, root)
    for name in ("proc", "sys", "dev", "run", "tmp", "var/tmp", "usr/bin"):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(BUSYBOX, root / "usr/bin/busybox")
    for name in files:
        target = root / CODE.lstrip("/") / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (code / name).is_dir():
            shutil.copytree(code / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(code / name, target)
    disk = work / "disk"
    run("mke2fs", "-q", "-t", "ext4", "-d", root, disk, "1G")
    return disk
