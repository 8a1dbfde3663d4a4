"""A process that maps a table for each layer of a node does not run out of descriptors, whatever limit it began with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 1000))\n"
SAY = "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BEGIN + script, *arguments], capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )


def test_more_tables_are_open_than_it_began_with(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"table")
    script = """
from pathlib import Path
from intact.adapters.store.cached import map_file
from intact.run.descriptors import raise_descriptor_limit
raise_descriptor_limit()
held = [map_file(Path(sys.argv[1])) for _ in range(900)]
print(len(held), len(os.listdir("/proc/self/fd")) < 100)
"""
    done = run(script, str(tmp_path / "table"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["900", str(sys.version_info >= (3, 13))], "from Python 3.13 on a mapping holds none"


def test_a_limit_that_is_higher_already_stays() -> None:
    script = "from intact.run import descriptors; descriptors.WANTED = 10; descriptors.raise_descriptor_limit()\n" + SAY
    assert run(script).stdout.split() == ["64", "1000"]


@pytest.mark.parametrize("name", ["agent", "controller", "watch"])
def test_whatever_runs_for_long_raises_it(name: str, tmp_path: Path) -> None:
    """None of them can begin here: no settings, no right; but that is what they do first."""
    script = (
        f"""
from click.testing import CliRunner
from intact.run.cli.{name} import command
os.geteuid = lambda: 65534
done = CliRunner().invoke(command, [])
assert done.exception is not None
"""
        + SAY
    )
    done = run(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1000", "1000"]
