"""A disk that fails under a look, by a stand-in for the calls that read it: what fails is said, the rest is found, and nothing ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from intact.model.finding import State
from tests.attack.staged import Staged

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(60)]


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    with Staged(tmp_path / "staged") as staged:
        for name in ("aaa", "bin", "etc"):
            (staged.image / name).mkdir()
        (staged.image / "aaa/file").write_bytes(b"as it was")
        (staged.image / "bin/tool").write_bytes(b"as it was")
        staged.start()
        (staged.inside / "aaa/file").write_bytes(b"as it is.")
        (staged.inside / "bin/tool").write_bytes(b"as it is.")
        yield staged


def fail(patch: pytest.MonkeyPatch, call: str, is_hit: Callable[..., bool], number: int = errno.EIO) -> None:
    plain = getattr(os, call)

    def fails(*args: Any, **named: Any) -> Any:
        if is_hit(*args, **named):
            raise OSError(number, os.strerror(number))
        return plain(*args, **named)

    patch.setattr(os, call, fails)


def is_at(descriptor: int, name: bytes) -> bool:
    return os.readlink(f"/proc/self/fd/{descriptor}").endswith(os.fsdecode(name))


def test_a_file_that_cannot_be_read(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, "preadv", lambda descriptor, *rest: is_at(descriptor, b"/aaa/file"))
    verdict = staged.judge()
    assert [one.difference.path for one in verdict.findings] == [b"/bin/tool"]
    assert [(one.path, one.reason) for one in verdict.unobserved] == [(b"/aaa/file", "EIO: Input/output error")]


@pytest.mark.parametrize("call", ["stat", "listxattr"])
def test_a_directory_whose_metadata_cannot_be_read_hides_nothing_below(staged: Staged, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    if call == "stat":
        fail(monkeypatch, "stat", lambda path, **named: path == b"aaa")
    else:
        fail(monkeypatch, "listxattr", lambda path, **named: path.endswith(b"/aaa"))
    verdict = staged.judge()
    assert [one.difference.path for one in verdict.findings] == [b"/aaa/file", b"/bin/tool"]
    assert [one.path for one in verdict.unobserved] == [b"/aaa"]


def test_a_directory_that_cannot_be_listed(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, "scandir", lambda descriptor: is_at(descriptor, b"/aaa"))
    verdict = staged.judge()
    assert [one.difference.path for one in verdict.findings] == [b"/bin/tool"]
    assert [one.path for one in verdict.unobserved] == [b"/aaa"]


def test_the_root_itself_cannot_be_read(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, "listxattr", lambda path, **named: path.endswith(b"/."))
    verdict = staged.judge()
    assert {one.difference.path for one in verdict.findings} == {b"/aaa/file", b"/bin/tool"}
    assert [one.path for one in verdict.unobserved] == [b"/"]


def test_nothing_can_be_opened_any_more(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of descriptors: what was not opened is not called clean."""
    root = []

    def is_hit(path: object, *rest: object, **named: object) -> bool:
        root.append(path)
        return path in (b"aaa", b"bin", b"etc", b"file", b"tool")

    fail(monkeypatch, "open", is_hit, errno.EMFILE)
    verdict = staged.judge()
    assert verdict.state is State.UNOBSERVED
    assert {b"/aaa", b"/bin"} <= {one.path for one in verdict.unobserved}
