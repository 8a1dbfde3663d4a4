"""Only the host's own mount table makes a declared overlay believable."""

import os
from pathlib import Path

import pytest

from intact.adapters.linux.mounts import (
    HOST_TABLE,
    Unconfirmed,
    confirm_overlay,
    parse_mounts,
    read_defaults,
    read_mounts,
    root_device,
    uses_user_attributes,
)
from intact.model.container import Mounted
from intact.model.errors import TemporaryError

TABLE = (
    b"22 27 0:21 / /proc rw,relatime shared:1 - proc proc rw\n"
    b"100 27 0:50 / /run/c\\0401/rootfs rw,relatime - overlay over\\012lay "
    b"rw,lowerdir=/s/2/fs:/s/1/fs,upperdir=/s/3\\0543/fs,workdir=/s/3/work,xino=off\n"
    b"101 27 0:51 / /run/c2/rootfs rw - overlay overlay rw,lowerdir=l/a:l/b,upperdir=/s/4/fs,workdir=/s/4/work,userxattr,brand_new=on\n"
    b"102 27 0:52 / /run/c3/rootfs rw - overlay overlay ro,lowerdir=/s/1/fs:/s/2/fs\n"
    b"broken line\n"
)
DECLARED = Mounted(upper=b"/s/3,3/fs", lowers=(b"/s/2/fs", b"/s/1/fs"), device=0)


def test_escapes_are_undone_after_splitting() -> None:
    mounts = parse_mounts(TABLE)
    assert len(mounts) == 4
    assert (mounts[1].target, mounts[1].source) == (b"/run/c 1/rootfs", b"over\nlay")
    assert mounts[1].option("upperdir") == b"/s/3,3/fs"
    assert mounts[1].device == os.makedev(0, 50)


def test_declared_overlay_is_confirmed_with_device_and_options() -> None:
    confirmed = confirm_overlay(DECLARED, parse_mounts(TABLE), root_device=os.makedev(0, 50))
    assert isinstance(confirmed, Mounted)
    assert (confirmed.device, confirmed.options, confirmed.upper) == (os.makedev(0, 50), ("rw", "xino=off"), b"/s/3,3/fs")
    assert not uses_user_attributes(confirmed)


@pytest.mark.parametrize(
    ("device", "upper", "reason"),
    [
        (os.makedev(0, 99), b"/s/3,3/fs", "no overlay of the host's mount table"),
        (os.makedev(0, 21), b"/s/3,3/fs", "no overlay of the host's mount table"),
        (os.makedev(0, 50), b"/etc", "upperdir is /s/3,3/fs"),
        (os.makedev(0, 51), b"/s/4/fs", "option not understood: brand_new"),
        (os.makedev(0, 52), b"/s/4/fs", "no upper directory"),
    ],
)
def test_what_the_table_does_not_bear_out_is_refused_with_the_reason(device: int, upper: bytes, reason: str) -> None:
    found = confirm_overlay(Mounted(upper=upper, lowers=(), device=0), parse_mounts(TABLE), root_device=device)
    assert isinstance(found, Unconfirmed) and reason in found.reason


def test_the_same_directory_under_two_names_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "fs").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path)
    table = b"100 27 0:50 / /r rw - overlay o rw,lowerdir=a,upperdir=%s,workdir=w\n" % os.fsencode(tmp_path / "fs")
    declared = Mounted(upper=os.fsencode(tmp_path / "alias/fs"), lowers=(), device=0)
    assert isinstance(confirm_overlay(declared, parse_mounts(table), root_device=os.makedev(0, 50)), Mounted)


def test_options_that_the_table_leaves_out_are_the_kernels_defaults(tmp_path: Path) -> None:
    for name, value in {"metacopy": "Y", "index": "N", "redirect_dir": "N", "redirect_always_follow": "Y"}.items():
        (tmp_path / name).write_text(value + "\n")
    defaults = read_defaults(tmp_path)
    assert defaults == {"metacopy": b"on", "redirect_dir": b"follow"}
    table = TABLE.replace(b",xino=off", b",xino=off,metacopy=off")
    confirmed = confirm_overlay(DECLARED, parse_mounts(table), root_device=os.makedev(0, 50), defaults=defaults)
    assert isinstance(confirmed, Mounted)
    assert set(confirmed.options) == {"rw", "xino=off", "metacopy=off", "redirect_dir=follow"}
    assert read_defaults(tmp_path / "none") == {}


@pytest.mark.parametrize("kind", [b"fuse", b"fuse.stargz", b"fuseblk"])
def test_a_layer_on_a_fuse_file_system_is_refused_with_the_reason(kind: bytes) -> None:
    table = TABLE + b"103 27 0:60 / /s/1 rw - %s server rw\n104 27 0:61 / /s/10 rw - ext4 /dev/x rw\n" % kind
    found = confirm_overlay(DECLARED, parse_mounts(table), root_device=os.makedev(0, 50))
    assert isinstance(found, Unconfirmed) and found.reason == f"its layer /s/1/fs is on a FUSE file system ({kind.decode()})"
    covered = table + b"105 27 0:62 / /s/1/fs rw - ext4 /dev/y rw\n"
    assert isinstance(confirm_overlay(DECLARED, parse_mounts(covered), root_device=os.makedev(0, 50)), Mounted)


def test_this_hosts_table_and_this_process(tmp_path: Path) -> None:
    assert any(mount.kind == b"proc" for mount in read_mounts(Path("/proc/self/mountinfo")))
    assert root_device(os.getpid()) == os.stat("/").st_dev
    assert root_device(2**22 - 1) is None
    assert Path("/proc/1/mountinfo") == HOST_TABLE
    with pytest.raises(TemporaryError, match="mount table"):
        read_mounts(tmp_path / "none")
