r"""Path patterns as gitignore writes them, matched against container paths.

In come pattern texts, out comes one matcher over bytes. `pathspec` knows the grammar (gitignore(5)); here its regular expressions are made
safe for names chosen by an attacker: bytes instead of text, `\Z` instead of `$` (`*.pyc` is not `evil.pyc\n`), `.` that also means a
newline, classes that never match `/`, and `*` that never tries twice. Never reads a file.

A pattern that begins with `/` or has a `/` inside is anchored at the root; one without matches at any depth. A pattern that matches a
directory matches everything below it. `!pattern` takes back what patterns before it matched; the last pattern that matches decides.
`?` and `[…]` stand for one byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from .errors import InputError

MAX_PATTERNS = 512
MAX_LENGTH = 1024
MAX_DOUBLE_STARS = 2
"""`**` before the last part of one pattern, the one that a pattern without `/` begins with included: matching costs length ** this."""
MAX_STARS = 16
MAX_PATH = 4096
"""PATH_MAX of Linux. Deeper trees exist; nobody means them."""

_DIRECTORY_MARK = "(?P<ps_d>/)"
_END = f"(?:{_DIRECTORY_MARK}|$)"
_CLASS = re.compile(r"[!^]?(?:[A-Za-z0-9]-[A-Za-z0-9]|[A-Za-z0-9._@+=, -])+")
_STAR_BEFORE_STAR = re.compile(
    r"\[\^/\]\*(?P<between>(?:\\.|[^\\\[\](){}*+?|/^$.]|\[\^/\](?![*+])|\[(?!\^/\])[^\]]+\])+)(?=\[\^/\]\*)", re.DOTALL
)
"""A star, then what is no star, then a star: in one name, as no `/` is between."""


class Patterns:
    """A compiled list of patterns. An empty list matches nothing."""

    __slots__ = ("_groups", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        """Raises InputError that names the pattern which is no pattern, or which is too costly to match."""
        self.texts = tuple(texts)
        if len(self.texts) > MAX_PATTERNS:
            raise InputError(f"{len(self.texts)} patterns: at most {MAX_PATTERNS} are allowed")
        groups: list[tuple[bool, list[str]]] = []
        for text in self.texts:
            includes, expression = _translate(text)
            if not groups or groups[-1][0] != includes:
                groups.append((includes, []))
            groups[-1][1].append(expression)
        self._groups = tuple((includes, re.compile("|".join(parts).encode(), re.DOTALL)) for includes, parts in groups)

    def __bool__(self) -> bool:
        return bool(self.texts)

    def match(self, path: bytes, *, directory: bool = False) -> bool:
        """Whether the absolute `path` is meant. `directory` says that it is one, for patterns that end in `/`. A path
        longer than the system's limit is never meant."""
        if len(path) > MAX_PATH:
            return False
        name = path[1:] + b"/" if directory and path != b"/" else path[1:]
        meant = False
        for includes, expression in self._groups:
            if meant != includes and expression.match(name):
                meant = includes
        return meant


def escape(path: bytes) -> str:
    """The pattern that matches exactly `path` and what is below it; bytes that are no printable text become `?`."""
    escaped = ""
    for character in path.decode("utf-8", "surrogateescape"):
        if not character.isprintable():
            escaped += "?" * len(character.encode("utf-8", "surrogateescape"))
        else:
            escaped += f"\\{character}" if character in "\\*?[]!#" else character
    return f"{escaped[:-1]}\\ " if escaped.endswith(" ") else escaped


def _translate(text: str) -> tuple[bool, str]:
    """`text` as (whether it includes, regular expression over a path without its first slash)."""
    if len(text) > MAX_LENGTH:
        raise InputError(f"pattern of {len(text)} characters: {text[:60]!r}…", hint=f"at most {MAX_LENGTH}")
    _check_classes(text)
    try:
        expression, includes = GitIgnoreSpecPattern.pattern_to_regex(text)
    except GitIgnorePatternError:
        expression, includes = None, None
    if expression is None or includes is None or "//" in text or "\0" in text:
        raise InputError(f"not a path pattern: {text!r}", hint="write it as a line of .gitignore, such as /var/log/** or *.tmp")
    expression = expression.replace("[^/]*[^/]*", "[^/]*")
    if expression.count("[^/]*") > MAX_STARS or expression.count("/.+)?") + expression.count("(?:.+/)?") > MAX_DOUBLE_STARS:
        raise InputError(f"pattern with too many wildcards: {text!r}", hint=f"at most {MAX_DOUBLE_STARS} `**` and {MAX_STARS} `*`")
    expression = expression.replace(_END, r"(?:/|\Z)").replace(_DIRECTORY_MARK, "/")
    # The shortest match of a star that another star follows in the same name is enough: the next one may skip as well.
    expression = _STAR_BEFORE_STAR.sub(lambda m: f"(?>[^/]*?{m['between']})", expression)
    expression = re.sub(r"(?<!\\)\[(?!\^/\])", "(?!/)[", expression)
    try:
        re.compile(expression.encode())
    except re.error as error:
        raise InputError(f"not a path pattern: {text!r}", hint=str(error)) from error
    return includes, expression


def _check_classes(text: str) -> None:
    """Raises InputError unless every `[…]` of `text` is a plain class of ASCII characters and ranges."""
    position = 0
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == "[":
            end = text.find("]", position + 1)
            if end < 0 or not _CLASS.fullmatch(text, position + 1, end):
                raise InputError(
                    f"not a path pattern: {text!r}", hint="a class is [abc], [a-z] or [!abc]; write \\[ for the character itself"
                )
            position = end
        position += 1
