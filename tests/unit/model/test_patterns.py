"""Path patterns mean what .gitignore means, whatever bytes an attacker puts into a name, in bounded time."""

from __future__ import annotations

import time

import pytest

from intact.model.errors import InputError
from intact.model.patterns import Patterns, escape


@pytest.mark.parametrize(
    ("pattern", "path", "meant"),
    [
        ("*.pyc", b"/a/b.pyc", True),
        ("*.pyc", b"/evil.pyc\n", False),
        ("/var/log/**", b"/var/log/a/b\nc", True),
        ("/var/log/**", b"/var/log", False),
        ("/var/log/**", b"/x/var/log/a", False),
        ("/srv/cache", b"/srv/cache/deep/x", True),
        ("/srv/cache", b"/srv/cache2", False),
        ("cache/", b"/srv/cache/x", True),
        ("cache/", b"/srv/cache", False),
        ("/srv/*/tmp", b"/srv/a/tmp", True),
        ("/srv/*/tmp", b"/srv/a/b/tmp", False),
        ("/srv/**/*.tmp", b"/srv/x.tmp", True),
        ("/srv/**/*.tmp", b"/srv/a/b/x.tmp", True),
        ("/a*b*c?d", b"/abbcxd", True),
        ("/a*b*c", b"/ab/c", False),
        ("/x/*a*b*c", b"/x/aabbacc", True),
        ("/a[!b]c", b"/axc", True),
        ("/a[!b]c", b"/a/c", False),
        ("/a[0-9]", b"/a7", True),
        ("/\\*", b"/*", True),
        ("/\\*", b"/x", False),
        ("/caf\u00e9", "/caf\u00e9".encode(), True),
        ("/a?", b"/a\xff", True),
        ("**", b"/anything/\n", True),
    ],
)
def test_a_pattern_means_what_gitignore_means(pattern: str, path: bytes, meant: bool) -> None:
    assert Patterns([pattern]).match(path) is meant


def test_a_trailing_slash_means_a_directory() -> None:
    assert Patterns(["/a/"]).match(b"/a", directory=True)
    assert not Patterns(["/a/"]).match(b"/a")


def test_the_last_pattern_that_matches_decides() -> None:
    patterns = Patterns(["/a/**", "!/a/keep", "/a/keep/x"])
    assert [patterns.match(p) for p in (b"/a/b", b"/a/keep", b"/a/keep/x", b"/b")] == [True, False, True, False]


def test_no_pattern_means_nothing() -> None:
    assert not Patterns([]).match(b"/a")


@pytest.mark.parametrize(
    "text", ["", "   ", "/", "# x", "[", "[z-a]", "[\u00e9]", "[a/]", "a\\", "a//b", "a\0b", "**/a/**/b/**/c", "a*" * 17, "x" * 1025]
)
def test_what_is_no_pattern_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError, match="pattern"):
        Patterns([text])


def test_a_list_of_patterns_is_bounded() -> None:
    with pytest.raises(InputError, match="513 patterns"):
        Patterns(["/a"] * 513)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 16 + "b", b"/" + b"a" * 4095),
        ("**/a/**/b", b"/a" * 2048),
        ("/**/a/**/*?a?*?*b", b"/a" * 2048),
        ("**/*a*a*a*a*c/**/*a*a*b/x", (b"/" + b"a" * 60) * 66),
        ("*[a-b]*[a-b]*[a-b]*[a-b]*[a-b]*c", b"/" + b"ab" * 2047),
    ],
)
def test_no_name_makes_a_pattern_slow(pattern: str, path: bytes) -> None:
    patterns = Patterns([pattern])
    started = time.process_time()
    assert not patterns.match(path)
    assert time.process_time() - started < 2.0


def test_a_path_beyond_the_systems_limit_is_never_meant() -> None:
    assert not Patterns(["**"]).match(b"/a" * 2049)


@pytest.mark.parametrize("path", [b"/plain", b"/a*b?[x]!#\\", b"/ends ", b"/caf\xc3\xa9", b"/\xff\n\t", b"/!x/#y"])
def test_an_escaped_path_is_a_pattern_for_itself(path: bytes) -> None:
    assert Patterns([escape(path)]).match(path)
