"""Where an image keeps code: whether what is added somewhere lands beside it, or in a place to write in.

In: a baseline, paths. Out: claims; remembers what was asked. Pure. A directory holds code if code lies in it, or if it holds nothing but
directories of code, as `node_modules` and `webapps` do: one more beside them is one more module. Reads at most `MAX_NEARBY` records of the
image for one answer; beyond them the answer is yes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from intact.model.entry import Entry, Kind, parent
from intact.model.layer import Baseline

from . import places

MAX_NEARBY = 100_000
"""Records of the image read to tell what a directory holds; beyond it the answer is taken to be yes, code."""

_LEFT_OUT = (b".js", b".json", b".node")
"""What Node adds to the name of a module that it does not find as it stands."""
_PACKED = (b"gz", b"br", b"zst")


@dataclass(slots=True)
class Nearby:
    """What the directories of one image hold."""

    baseline: Baseline
    _answers: dict[tuple[bytes, str], bool] = field(default_factory=dict)
    _extensions: dict[bytes, frozenset[bytes]] = field(default_factory=dict)
    _last: tuple[bytes, bytes] = (b"", b"/")

    def nearest_directory(self, path: bytes) -> bytes:
        """The nearest directory above `path` that the image has; paths of one directory after the other cost one search."""
        above = parent(path)
        if self._last[0] != above:
            self._last = above, self.baseline.nearest_directory(path)
        return self._last[1]

    def is_beside_code(self, path: bytes) -> bool:
        """Whether `path`, which the image has not, is where the image keeps code."""
        directory = self.nearest_directory(path)
        if self._ask(directory, "own") or places.is_deployed_place(path):
            return True
        is_in_new_directory = parent(path) != directory
        is_hidden = path[len(directory.rstrip(b"/")) + 1 :].startswith(b".")
        return is_in_new_directory and not is_hidden and directory != b"/" and self._ask(directory, "modules")

    def is_beside_assets(self, path: bytes) -> bool:
        """Whether `path` is a page among styles or pictures of the image: a site's own, where nobody uploads pages."""
        directory = parent(path)
        if not places.is_page_name(path) or directory != self.nearest_directory(path):
            return False
        return bool(self._own(directory) & places.ASSET_EXTENSIONS)

    def is_taken_first(self, path: bytes) -> bool:
        """Whether `path` would be taken in the place of a file of the image beside it: by Node, that looks for `lib` before `lib.js`; by
        web servers, that send `page.html.gz` instead of packing `page.html`."""
        directory = parent(path)
        if directory != self.nearest_directory(path) or not self._ask(directory, "own"):
            return False
        stem, _, extension = path.rpartition(b".")
        names = [path + end for end in _LEFT_OUT]
        if extension in _PACKED and places.is_served_name(stem):
            names.append(stem)
        return any(found is not None and found.kind is Kind.FILE for found in map(self.baseline.find, names))

    def is_kindred(self, path: bytes) -> bool:
        """Whether the image has files of the same extension in the same directory, and it is one of those that are loaded together."""
        named = places.extension(path)
        return named in places.KINDRED_EXTENSIONS and parent(path) == self.nearest_directory(path) and named in self._own(parent(path))

    def is_configured(self, path: bytes) -> bool:
        """Whether `path` lies beside configuration of the image: in a directory that is called so and in which the image has files."""
        directory = self.nearest_directory(path)
        return places.is_configured_directory(directory) and bool(self._own(directory))

    def is_static(self, path: bytes) -> bool:
        """Whether `path` lies beside what came with programs: not in a directory that the image leaves empty for somebody to fill."""
        if not places.is_static_place(path) or places.is_deployed_place(path):
            return False
        directory = self.nearest_directory(path)
        return directory.count(b"/") < 3 or directory == b"/usr/local/share" or bool(self._own(directory))

    def _own(self, directory: bytes) -> frozenset[bytes]:
        """The extensions of the files that the image has in `directory` itself; of one with very many of them, of the first."""
        if directory not in self._extensions:
            own: set[bytes] = set()
            for looked_at, entry in enumerate(self.baseline.scan(directory)):
                if looked_at > MAX_NEARBY:
                    break
                if entry.kind is Kind.FILE and parent(entry.path) == directory:
                    own.add(places.extension(entry.path))
            self._extensions[directory] = frozenset(own)
        return self._extensions[directory]

    def guards_anything(self, directory: bytes) -> bool:
        """Whether code, credentials or what starts by itself lies in or below `directory`."""
        return self._ask(directory, "below")

    def _ask(self, directory: bytes, question: str) -> bool:
        key = directory, question
        if key not in self._answers:
            match question:
                case "own":
                    self._answers[key] = self._has_own_code(directory)
                case "modules":
                    self._answers[key] = self._holds_modules(directory)
                case _:
                    self._answers[key] = self._has_anything_below(directory)
        return self._answers[key]

    def _has_own_code(self, directory: bytes) -> bool:
        looked_at = 0
        for layer in self.baseline.layers:
            for record in layer.scan(directory):
                looked_at += 1
                if looked_at > MAX_NEARBY:
                    return True
                entry = record.entry
                if entry is None or parent(record.path) != directory or not is_code(entry):
                    continue
                if self.baseline.find(record.path) is not None:
                    return True
        return False

    def _has_anything_below(self, directory: bytes) -> bool:
        for looked_at, entry in enumerate(self.baseline.scan(directory)):
            if looked_at > MAX_NEARBY or is_code(entry) or places.is_credential(entry.path) or places.is_autostart(entry.path):
                return True
        return False

    def _holds_modules(self, directory: bytes) -> bool:
        """Whether there are directories in `directory`, no files, and code in every one of them."""
        start = len(directory.rstrip(b"/")) + 1
        waiting: set[bytes] = set()
        count = 0
        for looked_at, entry in enumerate(self.baseline.scan(directory)):
            if looked_at > MAX_NEARBY:
                return True
            child, below, _ = entry.path[start:].partition(b"/")
            if not below:
                if child.startswith(b".") or entry.kind is Kind.SYMLINK:
                    continue
                if entry.kind is not Kind.DIRECTORY:
                    return False
                count += 1
                waiting.add(child)
            elif child in waiting and is_code(entry):
                waiting.discard(child)
            if any(child[: len(one)] > one for one in waiting):  # all of it was read, in order of path: no code in it
                return False
        return count > 0 and not waiting


def is_code(entry: Entry) -> bool:
    """Whether a file of the image is run, loaded, or served to a browser that runs it."""
    return entry.kind is Kind.FILE and (places.is_code_like(entry) or places.is_served_name(entry.path))
