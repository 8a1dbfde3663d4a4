"""How a text changed, line by line, for people: the unified form that `diff -u` and `patch` know.

In: two contents. Out: lines to print, or why there are none. Content comes from an attacker: it is bounded, it is shown without anything a
terminal obeys, and no content makes this slow. Never reads a file, and shows no secret unless it is told to.

1. What is no text, or too large, is not compared line by line.
2. What the two have in common at their beginnings and ends is set aside.
3. The shortest way from one to the other, up to `MOST_EDITS` lines of it (Myers, "An O(ND) Difference Algorithm", 1986): the cost is
   lines x edits, whatever the content. Beyond that all of the old lines go and all of the new ones come. (The standard library's `difflib`
   needs the square of the lines or more, and content can be made so that it does.)
4. Secrets go (`redact`), each line is cut and made harmless, and so is the number of lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .redact import is_hidden_as_a_whole, redact

MOST_BYTES = 256 << 10
"""Larger files are not compared line by line."""
MOST_LINES = 20_000
MOST_EDITS = 250
MOST_SHOWN = 200
"""Lines of one difference; the rest is counted."""
LINE_SHOWN = 400
CONTEXT = 3

_Edit = tuple[str, int, int]
"""(mark, index in the old lines, index in the new lines)."""


@dataclass(frozen=True, slots=True)
class TextDiff:
    """`lines` begin with ` `, `+`, `-` or `@@`; without any, `reason` says why."""

    lines: tuple[str, ...] = ()
    reason: str = ""


def is_text(data: bytes) -> bool:
    """Whether `data` is something to show by lines: no zero byte, hardly any control character, mostly UTF-8."""
    head = data[:8192]
    if b"\0" in head:
        return False
    odd = sum(byte < 32 and byte not in (9, 10, 12, 13, 27) for byte in head)
    undecodable = head.decode("utf-8", "replace").count("\ufffd")
    return (odd + undecodable) * 10 <= len(head)


def diff_text(path: bytes, old: bytes, new: bytes, *, show_secrets: bool = False) -> TextDiff:
    """From `old` (empty for what was added) to `new` (empty for what was deleted)."""
    if not (is_text(old) and is_text(new)):  # 1
        return TextDiff(reason="not text")
    if max(len(old), len(new)) > MOST_BYTES:
        return TextDiff(reason=f"larger than the {MOST_BYTES >> 10} KiB that are compared by lines")
    before, after = _split(old), _split(new)
    if max(len(before), len(after)) > MOST_LINES:
        return TextDiff(reason=f"more than the {MOST_LINES:,} lines that are compared")
    edits = _find_edits(before, after)
    if not show_secrets and is_hidden_as_a_whole(path):
        added, removed = (sum(edit[0] == mark for edit in edits) for mark in "+-")
        return TextDiff(reason=f"credentials are kept here: {removed} lines removed and {added} added, not shown")
    shown = (before, after) if show_secrets else (redact(before, path), redact(after, path))
    return TextDiff(lines=tuple(_write(edits, *shown)))


def _split(data: bytes) -> list[bytes]:
    """Lines without their ends; a last one that does not end is told apart, as `diff` does."""
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    else:
        lines[-1] += b" \\ no newline at the end"
    return lines


def _find_edits(old: Sequence[bytes], new: Sequence[bytes]) -> list[_Edit]:
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:  # 2
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    numbers: dict[bytes, int] = {}
    one = [numbers.setdefault(line, len(numbers)) for line in old[first : len(old) - last]]
    other = [numbers.setdefault(line, len(numbers)) for line in new[first : len(new) - last]]
    middle = _find_shortest(one, other)
    if middle is None:
        middle = [*(("-", x, 0) for x in range(len(one))), *(("+", len(one), y) for y in range(len(other)))]
    edits: list[_Edit] = [(" ", i, i) for i in range(first)]
    edits += [(mark, x + first, y + first) for mark, x, y in middle]
    return edits + [(" ", len(old) - last + i, len(new) - last + i) for i in range(last)]


def _find_shortest(old: Sequence[int], new: Sequence[int]) -> list[_Edit] | None:
    """3. None if it takes more than `MOST_EDITS`."""
    furthest = {1: 0}
    rounds: list[dict[int, int]] = []
    for edits in range(min(len(old) + len(new), MOST_EDITS) + 1):
        rounds.append(dict(furthest))
        for diagonal in range(-edits, edits + 1, 2):
            down = diagonal == -edits or (diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1])
            x = furthest[diagonal + 1] if down else furthest[diagonal - 1] + 1
            y = x - diagonal
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            furthest[diagonal] = x
            if x >= len(old) and y >= len(new):
                return _go_back(rounds, len(old), len(new))
    return None


def _go_back(rounds: Sequence[dict[int, int]], x: int, y: int) -> list[_Edit]:
    found: list[_Edit] = []
    for edits in range(len(rounds) - 1, -1, -1):
        furthest, diagonal = rounds[edits], x - y
        down = diagonal == -edits or (diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1])
        before = diagonal + 1 if down else diagonal - 1
        from_x = furthest[before] if edits else 0
        from_y = from_x - before if edits else 0
        while x > from_x and y > from_y:
            x, y = x - 1, y - 1
            found.append((" ", x, y))
        if edits:
            found.append(("+", x, y - 1) if down else ("-", x - 1, y))
            x, y = from_x, from_y
    return found[::-1]


def _write(edits: Sequence[_Edit], old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[str]:
    """4. Hunks with `CONTEXT` lines around, until the bound."""
    written = 0
    changed = sum(edit[0] != " " for edit in edits)
    for start, end in _group(edits):
        hunk = edits[start:end]
        if written >= MOST_SHOWN:
            break
        yield _head(hunk)
        for mark, x, y in hunk:
            if written >= MOST_SHOWN:
                break
            written += 1
            changed -= mark != " "
            yield mark + show_line(new[y] if mark == "+" else old[x])
    if changed:
        yield f"@@ {changed:,} more lines differ and are not shown @@"


def _group(edits: Sequence[_Edit]) -> Iterator[tuple[int, int]]:
    """Where the hunks begin and end."""
    start = end = -1
    for index, (mark, _, _) in enumerate(edits):
        if mark == " ":
            continue
        if end >= 0 and index - CONTEXT > end:
            yield start, end
            start = -1
        if start < 0:
            start = max(0, index - CONTEXT)
        end = min(len(edits), index + CONTEXT + 1)
    if end >= 0:
        yield start, end


def _head(hunk: Sequence[_Edit]) -> str:
    removed, added = sum(edit[0] != "+" for edit in hunk), sum(edit[0] != "-" for edit in hunk)
    return f"@@ -{hunk[0][1] + bool(removed)},{removed} +{hunk[0][2] + bool(added)},{added} @@"


def show_line(line: bytes | str, limit: int = LINE_SHOWN) -> str:
    """One line for a terminal: control and bidi characters escaped (tabs are not), cut to `limit` characters."""
    text = line if isinstance(line, str) else line[: 4 * limit + 4].decode("utf-8", "backslashreplace")
    shown = "".join(
        c if c == "\t" or c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text[: limit + 1]
    )
    return shown if len(shown) <= limit else f"{shown[:limit]}…"
