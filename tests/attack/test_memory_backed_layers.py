"""Stores through mappings where no time of a file tells of them, and a memory of what was read that must not be deceived by it."""

from __future__ import annotations

import mmap
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.adapters.linux.running import File, RunningFiles
from intact.model.digest import Digest
from intact.model.finding import State
from tests.attack.staged import Staged

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(120)]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A node whose containers live in memory: one that was started over the network, a live system."""
    place = tmp_path / "memory"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "node", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_store_through_a_mapping_is_seen_where_the_layers_lie_on_tmpfs(memory: Path) -> None:
    with Staged(memory / "staged") as staged:
        (staged.image / "bin").mkdir()
        tool = staged.image / "bin/tool"
        tool.write_bytes(b"\x7fELF" + bytes(8188))
        tool.chmod(0o755)
        staged.start()
        staged.known.clock_ns = lambda: time.time_ns() + 3600 * 10**9
        descriptor = os.open(staged.inside / "bin/tool", os.O_RDWR)
        with mmap.mmap(descriptor, 8192) as mapped:
            os.close(descriptor)
            mapped[5000] = 0
            assert staged.judge().state is State.INTACT
            mapped[5000] = 1
            assert staged.judge().state is State.DRIFTED


def test_a_library_that_is_rewritten_through_a_mapping_after_it_was_read_is_read_again(tmp_path: Path) -> None:
    """The page is still dirty from the first store, so that the second one moves no time."""
    library = tmp_path / "lib.so"
    library.write_bytes(b"\x7fELF" + bytes(8188))
    files, file = RunningFiles(), File(link=os.fsencode(library), path=os.fsencode(library), device=library.stat().st_dev)

    def digest() -> Digest | None:
        files.begin()
        read = files.read(file)
        assert read is not None
        return read.digest

    with library.open("r+b") as opened, mmap.mmap(opened.fileno(), 8192) as mapped:
        mapped[5000] = 1
        first = digest()
        mapped[5000] = 2
        assert digest() != first
        assert digest() == Digest.of(library.read_bytes())
