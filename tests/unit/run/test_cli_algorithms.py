"""`intact baseline build --algorithm`: what is chosen is what stands in the baseline, and what the check of a tree goes by."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from intact.baseline.document import load_document
from intact.model.digest import Algorithms
from intact.model.layer import Baseline


def intact(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "intact", *arguments], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "etc").mkdir(parents=True)
    (root / "etc/hosts").write_bytes(b"127.0.0.1 localhost\n")
    return root


def build(tree: Path, *names: str) -> tuple[Path, str]:
    out = tree.with_name("out.baseline")
    done = intact("baseline", "build", f"dir:{tree}", "-o", out, *(word for name in names for word in ("--algorithm", name)))
    assert done.returncode == 0, done.stderr
    return out, done.stderr


def load(file: Path) -> Baseline:
    return load_document(file.read_bytes(), allow_unsigned=True)


@pytest.mark.parametrize(
    ("names", "algorithms"),
    [
        ((), Algorithms("sha256")),
        (("belt-hash",), Algorithms("belt-hash")),
        (("md5", "sha512", "blake3", "sha1"), Algorithms("sha512", ("blake3", "md5", "sha1"))),
        (("sha224",), Algorithms("sha224")),
    ],
    ids=["default", "belt-hash", "several", "sha224"],
)
def test_a_tree_is_checked_by_the_algorithm_that_decides(tree: Path, names: tuple[str, ...], algorithms: Algorithms) -> None:
    file, told = build(tree, *names)
    assert load(file).algorithms == algorithms
    assert f"by {algorithms.described}" in told
    assert intact("check", file, "--root", tree).returncode == 0
    (tree / "etc/hosts").write_bytes(b"127.0.0.1 intruder_\n")
    changed = intact("check", file, "--root", tree, "--output", "json")
    assert changed.returncode == 1
    assert f"{algorithms.deciding}:" in changed.stdout


def test_weak_algorithms_alone_are_joined_by_a_strong_one_and_it_is_said(tree: Path) -> None:
    file, told = build(tree, "md5", "sha1")
    assert "md5, sha1: for comparison only" in told
    assert "sha256 is added and decides" in told
    assert load(file).algorithms == Algorithms("sha256", ("md5", "sha1"))


def test_a_slow_algorithm_says_how_slow(tree: Path) -> None:
    assert "times slower than sha256" in build(tree, "belt-hash")[1]


def test_an_algorithm_that_nobody_knows_is_a_usage_error(tree: Path) -> None:
    done = intact("baseline", "build", f"dir:{tree}", "-o", "x", "--algorithm", "crc32")
    assert (done.returncode, "belt-hash" in done.stderr) == (2, True)


def test_a_further_digest_changes_the_root_and_the_same_choice_does_not(tree: Path) -> None:
    roots = [load(build(tree, *names)[0]).layers[0].root for names in (("sha256",), ("sha256", "md5"), ("md5", "sha256"))]
    assert roots[0] != roots[1] == roots[2]


def test_what_is_for_comparison_only_is_shown_as_such(tree: Path) -> None:
    file, _ = build(tree, "md5", "belt-hash")
    assert "belt-hash (for comparison only: md5)" in intact("baseline", "show", file).stdout
    shown = json.loads(intact("baseline", "show", file, "--output", "json").stdout)
    assert (shown["algorithms"], shown["forComparisonOnly"]) == (["belt-hash", "md5"], ["md5"])
