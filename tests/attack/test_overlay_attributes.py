"""Overlayfs's own attributes in the upper directory, written by whoever could: the scan tells what the kernel shows, or that it cannot."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.adapters.linux.mounts import uses_user_attributes
from intact.adapters.linux.overlay_index import find_shared
from intact.compare.differ import compare
from intact.compare.judge import judge
from intact.model.container import Mounted
from intact.model.digest import Digest
from intact.model.finding import Change, State
from intact.model.observation import Observation
from tests.attack.staged import Staged, seen

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(120)]

EVIL = b"#!/bin/sh\nevil"
GOOD = b"#!/bin/sh\ngood"
METACOPY = ((b"metacopy", b"on"), (b"redirect_dir", b"on"))


def fill(image: Path) -> None:
    for name in ("bin", "etc", "opt"):
        (image / name).mkdir()
    (image / "bin/tool").write_bytes(GOOD)
    (image / "bin/other").write_bytes(GOOD[::-1])
    (image / "etc/secret").write_bytes(b"secret")


@pytest.fixture(params=["userxattr", "trusted", "metacopy"])
def staged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Staged]:
    options = {"userxattr": ((b"userxattr", None),), "trusted": (), "metacopy": METACOPY}[request.param]
    with Staged(tmp_path / "staged", options=options) as staged:
        fill(staged.image)
        yield staged.start()


def place(staged: Staged) -> Mounted:
    mounted = staged.running().mounted
    assert mounted is not None
    return mounted


def look(staged: Staged) -> Observation:
    return staged.look(user_attributes=uses_user_attributes(place(staged)))


def reads(staged: Staged, path: str) -> bytes | None:
    """What a process inside reads; None where the kernel refuses."""
    try:
        return (staged.inside / path).read_bytes()
    except OSError as error:
        assert error.errno in (errno.EPERM, errno.EIO, errno.EINVAL, errno.EACCES)
        return None


def told(staged: Staged, path: str) -> bytes | None:
    """The digest that the scan gives, None where it says that it could not look. Anything else is a lie by silence."""
    observation, name = look(staged), b"/" + os.fsencode(path)
    entry = seen(observation).get(name)
    if any(one.path == name for one in observation.unobserved):
        assert entry is None or entry.digest is None
        assert judge(staged.baseline, observation, compare(staged.baseline, observation)).state is not State.INTACT
        return None
    if entry is None:
        entry = staged.baseline.find(name)
    assert entry is not None and entry.digest is not None
    return entry.digest.value


def set_below(staged: Staged, path: str, name: str, value: bytes) -> None:
    """In the upper directory itself, as the user does who owns it, in the form that this overlay keeps, and in the other."""
    os.setxattr(staged.upper / path, f"user.overlay.{name}", value)
    if not uses_user_attributes(place(staged)):
        os.setxattr(staged.upper / path, f"trusted.overlay.{name}", value)


@pytest.mark.parametrize(
    "redirect", [None, b"/bin/other", b"other", b"/etc/secret", b"../etc/secret", b"/bin/../etc/secret", b"", b"/nowhere"]
)
def test_a_program_that_says_its_content_lies_elsewhere(staged: Staged, redirect: bytes | None) -> None:
    (staged.inside / "bin/tool").write_bytes(EVIL)
    set_below(staged, "bin/tool", "metacopy", b"")
    if redirect is not None:
        set_below(staged, "bin/tool", "redirect", redirect)
    staged.remount()
    shown = reads(staged, "bin/tool")
    said = told(staged, "bin/tool")
    assert said is None or (shown is not None and said == Digest.of(shown).value)


def test_a_program_with_a_redirect_and_content_of_its_own_is_read(staged: Staged) -> None:
    """What a rename under `metacopy` leaves behind once the file was written to."""
    (staged.inside / "bin/tool").write_bytes(EVIL)
    set_below(staged, "bin/tool", "redirect", b"/bin/other")
    staged.remount()
    assert reads(staged, "bin/tool") == EVIL
    assert told(staged, "bin/tool") == Digest.of(EVIL).value


@pytest.mark.parametrize("redirect", [b"/etc", b"etc", b"../etc", b"/nowhere", b"/bin/tool", b"", b"/"])
def test_a_directory_that_says_it_is_another_one(staged: Staged, redirect: bytes) -> None:
    (staged.inside / "opt/new").touch()
    set_below(staged, "opt", "redirect", redirect)
    staged.remount()
    observation = look(staged)
    try:
        shown = {b"/opt/" + os.fsencode(name) for name in os.listdir(staged.inside / "opt")}
    except OSError:
        shown = None
    if any(one.path == b"/opt" for one in observation.unobserved):
        return
    assert shown is not None, "the kernel refuses what the scan speaks of"
    assert {path for path in seen(observation) if path.startswith(b"/opt/")} == shown


def test_an_overlay_with_an_index_shows_a_change_under_a_name_that_nobody_wrote(tmp_path: Path) -> None:
    with Staged(tmp_path / "staged", options=((b"index", b"on"),)) as staged:
        fill(staged.image)
        (staged.image / "bin/alias").hardlink_to(staged.image / "bin/tool")
        staged.start()
        assert find_shared(place(staged)) == ()
        (staged.inside / "bin/tool").write_bytes(EVIL)
        (staged.inside / "bin/tool").unlink()
        assert (staged.inside / "bin/alias").read_bytes() == EVIL
        assert sorted(os.listdir(staged.upper / "bin")) == ["tool"]
        assert [(one.path, one.reason[:8]) for one in find_shared(place(staged))] == [(b"/", "index: 1")]


def test_a_program_swapped_by_renaming_its_directory_is_told(tmp_path: Path) -> None:
    """Not one byte of it is in the upper directory."""
    with Staged(tmp_path / "staged", options=METACOPY) as staged:
        fill(staged.image)
        (staged.image / "opt/tool").write_bytes(b"#!/bin/sh\nanother program of the image")
        staged.start()
        (staged.inside / "bin").rename(staged.inside / "away")
        (staged.inside / "opt").rename(staged.inside / "bin")
        observation = look(staged)
        changes = {one.path: one.change for one in compare(staged.baseline, observation)}
        assert (changes[b"/bin/tool"], changes[b"/bin/other"], changes[b"/away/tool"]) == (Change.MODIFIED, Change.DELETED, Change.ADDED)
        assert observation.unobserved == ()
