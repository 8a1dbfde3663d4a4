"""Layer stacks for the differential test: nasty ones by hand, and any number of random ones from a seed."""

import random
import tarfile
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from lab import layers
from lab.layers import Entry

CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12)
X_ATTRS = {"user.note": b"kept", "security.capability": CAPABILITY}

_PASSWD = layers.file(b"/etc/passwd", b"root", 0o644)
_TOOL = layers.file(b"/bin/tool", b"tool", 0o4755, uid=3, gid=4, xattrs={"security.capability": CAPABILITY})

BY_HAND: Mapping[str, Sequence[Sequence[Entry]]] = {
    "whiteout of a file": [[_PASSWD], [layers.whiteout(b"/etc/passwd")]],
    "whiteout of a directory": [[layers.file(b"/a/b/c", b"1")], [layers.whiteout(b"/a/b")]],
    "whiteout in the lowest layer": [[_PASSWD, layers.whiteout(b"/etc/passwd"), layers.file(b"/x", b"")]],
    "whiteout in the lowest layer before its file": [[layers.whiteout(b"/etc/passwd"), _PASSWD]],
    "whiteout then a directory of the same layer": [
        [layers.file(b"/a/old", b"1")],
        [layers.whiteout(b"/a"), layers.directory(b"/a", 0o700), layers.file(b"/a/new", b"2")],
    ],
    "whiteout then a file of the same layer": [[layers.file(b"/a/old", b"1")], [layers.whiteout(b"/a"), layers.file(b"/a", b"2")]],
    "opaque before and after entries": [
        [layers.file(b"/a/old", b"1"), layers.file(b"/b/old", b"1")],
        [layers.opaque(b"/a"), layers.file(b"/a/new", b"2"), layers.file(b"/b/new", b"2"), layers.opaque(b"/b")],
    ],
    "opaque in the lowest layer": [
        [layers.file(b"/a/b/c", b"1"), layers.directory(b"/a/d"), layers.opaque(b"/a")],
        [layers.file(b"/z", b"")],
    ],
    "opaque root": [[_PASSWD], [layers.file(b"/.wh..wh..opq", b""), layers.file(b"/new", b"1")]],
    "aufs link directory": [
        [layers.directory(b"/.wh..wh.plnk"), layers.file(b"/.wh..wh.plnk/1.2", b"x"), _PASSWD],
        [layers.file(b"/z", b"")],
    ],
    "file becomes directory and back": [
        [layers.file(b"/a", b"1"), layers.file(b"/b/c", b"1")],
        [layers.file(b"/a/x", b"2"), layers.file(b"/b", b"2")],
        [layers.file(b"/a", b"3"), layers.directory(b"/b", 0o711)],
    ],
    "directory above a file above a directory": [[layers.file(b"/a/deep", b"1")], [layers.file(b"/a", b"2")], [layers.directory(b"/a")]],
    "missing parents take the metadata below": [
        [layers.directory(b"/opt", 0o1777, uid=7), layers.directory(b"/opt/app", 0o750, gid=9), layers.file(b"/opt/app/a", b"1")],
        [layers.file(b"/opt/app/b", b"2"), layers.file(b"/opt/new/c", b"3")],
        [layers.file(b"/opt/app/sub/d", b"4")],
    ],
    "missing parents below a set-group-id directory": [
        [layers.directory(b"/srv", 0o2775, gid=50), layers.file(b"/srv/lib/python/x", b"1")],
        [layers.file(b"/srv/other/y", b"2")],
    ],
    "missing parents over an opaque layer": [
        [layers.directory(b"/a", 0o711), layers.directory(b"/a/b", 0o700)],
        [layers.opaque(b"/a")],
        [layers.file(b"/a/b/c", b"1")],
    ],
    "missing parent over a symlink": [
        [layers.directory(b"/usr"), layers.directory(b"/usr/lib", 0o751, uid=5), layers.symlink(b"/lib", b"usr/lib")],
        [layers.file(b"/lib/x", b"1")],
    ],
    "missing parent over a whiteout": [[layers.directory(b"/a", 0o700)], [layers.whiteout(b"/a")], [layers.file(b"/a/b", b"1")]],
    "through a symlink of the same layer": [
        [layers.directory(b"/usr"), layers.directory(b"/usr/lib"), layers.symlink(b"/lib", b"usr/lib"), layers.file(b"/lib/x", b"1")],
        [layers.symlink(b"/s", b"/t"), layers.symlink(b"/t", b"u/../v"), layers.file(b"/s/y", b"2")],
    ],
    "hard links": [
        [_PASSWD, layers.hard_link(b"/etc/link", _PASSWD), _TOOL, layers.hard_link(b"/bin/tool2", _TOOL)],
        [layers.file(b"/etc/passwd", b"other")],
    ],
    "hard link to a symlink": [[s := layers.symlink(b"/s", b"nowhere"), layers.hard_link(b"/h", s)]],
    "hard link whose target is replaced": [[_PASSWD, layers.hard_link(b"/l", _PASSWD), layers.file(b"/etc/passwd", b"new", 0o600)]],
    "kinds": [
        [
            layers.fifo(b"/fifo", 0o620),
            layers.character_device(b"/null", (1, 3)),
            layers.block_device(b"/disk", (259, 70000)),
            layers.symlink(b"/odd", b"\xff\n\x1b[2J"),
            layers.directory(b"/sticky", 0o1777),
            layers.file(b"/sgid", b"", 0o2755, uid=1, gid=2),
        ],
        [layers.character_device(b"/disk", (0, 0)), layers.file(b"/empty", b"")],
    ],
    "a whiteout as a device": [[layers.character_device(b"/gone", (0, 0)), layers.file(b"/x", b"1")], [layers.file(b"/y", b"")]],
    "extended attributes": [
        [layers.file(b"/f", b"1", xattrs=X_ATTRS), layers.directory(b"/d", xattrs={"user.dir": b"1", "trusted.overlay.opaque": b"y"})],
        [layers.file(b"/d/x", b"2"), layers.directory(b"/e", xattrs={"user.overlay.opaque": b"y"})],
    ],
    "odd names": [
        [
            layers.file(b"/a//b/./c/../d", b"1"),
            layers.file(b"/" + b"n" * 255, b"2"),
            layers.file(b"/new\nline", b"3"),
            layers.file(b"/\xff\xfe", b"4"),
            layers.file(b"/" + b"/".join([b"p" * 200] * 8), b"5"),
            layers.file("/rtl\u202egpj.sh".encode(), b"6"),
        ]
    ],
    "an entry twice": [
        [layers.file(b"/a", b"1"), layers.file(b"/a", b"22", 0o600), layers.directory(b"/d", 0o700), layers.directory(b"/d", 0o755)]
    ],
    "root's own metadata": [[layers.directory(b"/", 0o700, uid=5), layers.file(b"/x", b"")], [layers.directory(b"/", 0o711)]],
    "an empty layer": [[layers.file(b"/x", b"")], []],
}

_NAMES = (b"a", b"b", b"c", b"d")


def random_stack(seed: int) -> list[list[Entry]]:
    """A few layers over a few names, so that they meet; whether a runtime accepts it is for the runtime to say."""
    chance = random.Random(seed)
    return [_random_layer(chance) for _ in range(chance.randint(1, 4))]


def _random_layer(chance: random.Random) -> list[Entry]:
    made: list[Entry] = []
    return [_random_entry(chance, made) for _ in range(chance.randint(1, 6))]


def _random_entry(chance: random.Random, made: list[Entry]) -> Entry:
    path = _random_path(chance, made)
    uid, gid = chance.randint(0, 3), chance.randint(0, 3)
    match chance.randint(0, 11):
        case 0 | 1 | 2:
            mode = chance.choice((0o644, 0o755, 0o4755, 0o2711))
            made.append(layers.file(path, chance.randbytes(chance.randint(0, 600)), mode, uid=uid, gid=gid))
            return made[-1]
        case 3 | 4 | 5:
            return layers.directory(path, chance.choice((0o755, 0o700, 0o1777, 0o2775)), uid=uid, gid=gid)
        case 6:
            return layers.whiteout(path)
        case 7:
            return layers.opaque(path)
        case 8:
            target = b"/".join(chance.choice((*_NAMES, b"..")) for _ in range(chance.randint(1, 3)))
            return layers.symlink(path, chance.choice((b"", b"/")) + target, uid=uid, gid=gid)
        case 9 if made:
            return layers.hard_link(path, chance.choice(made))
        case 10:
            return layers.fifo(path, 0o600)
        case _:
            made.append(layers.file(path, b"same", xattrs={"user.k": chance.randbytes(3).hex().encode()}))
            return made[-1]


def _random_path(chance: random.Random, made: list[Entry]) -> bytes:
    """Seldom below a file of the same layer, which no runtime unpacks."""
    for _ in range(8):
        path = b"".join(b"/" + chance.choice(_NAMES) for _ in range(chance.randint(1, 3)))
        if not any(path.startswith(entry.path + b"/") for entry in made):
            break
    return path


NAMED_LATE: Sequence[Sequence[Entry]] = (
    (layers.directory(b"/srv", 0o2775, gid=50, xattrs={"user.dir": b"1"}),),
    (layers.file(b"/srv/new/x", b"1"), layers.directory(b"/srv", 0o755)),
)
"""The one thing that a table does not say as containerd does it. What is made below a directory before its layer names that directory is
made in a copy of the one beneath: /srv/new, which nobody names, has the group that the set-group-ID bit gives, and /srv keeps the
attributes of the copy. A table knows only that the layer names /srv."""

MAX_LAYERS = 4
_ODD_NAMES = (b"\xff\xfe", b"new\nline", b"back\\slash", b" ", b"n" * 255, "\u202e\u00e4".encode(), b"...", b".whx", b"-rf", b"\x01")


def rich_stack(seed: int) -> list[list[Entry]]:
    """As `random_stack`, with odd names, devices, attributes on directories and links, and a path that comes again in its layer."""
    chance = random.Random(f"rich {seed}")
    stack = random_stack(seed)
    renamed = {name: chance.choice(_ODD_NAMES) if chance.random() < 0.15 else name for name in _NAMES}
    stack = [[_rename(entry, renamed) for entry in layer] for layer in stack]
    for layer in stack:
        for index, entry in enumerate(layer):
            match chance.randint(0, 15):
                case 0 if entry.type == tarfile.DIRTYPE:
                    layer[index] = replace(entry, xattrs={"user.dir": chance.randbytes(2).hex().encode()})
                case 1 if entry.type == tarfile.REGTYPE and not entry.path.rpartition(b"/")[2].startswith(b".wh."):
                    layer[index] = replace(entry, xattrs=X_ATTRS)
                case 2:
                    layer.append(layers.character_device(entry.path, (chance.randint(1, 300), chance.randint(0, 70000))))
                case 3:
                    layer.append(replace(chance.choice(layer), mode=0o700))
                case _:
                    pass
    return stack


def graft(stack: Sequence[Sequence[Entry]], top: bytes) -> list[list[Entry]]:
    """The stack below the directory `top`, so that one image holds many; what leads to its root leads to `top`."""
    return [[_graft(entry, top) for entry in layer] for layer in stack]


def merge(stacks: Sequence[Sequence[Sequence[Entry]]]) -> list[list[Entry]]:
    """The layers of all stacks, one upon the other, as one stack."""
    return [[entry for stack in stacks for layer in stack[rank : rank + 1] for entry in layer] for rank in range(MAX_LAYERS)]


def runnable(stack: Sequence[Sequence[Entry]]) -> list[list[Entry]]:
    """The stack without what containerd fails on although every step of it is sound: a directory that its own layer removes (its time of
    change is set at the end), a whiteout of what its own layer wrote, a directory that nobody names two steps below what a layer beneath
    has as something else. And without what `NAMED_LATE` shows."""
    blocked: set[bytes] = set()
    inherited: set[bytes] = set()
    kept = []
    for rank, layer in enumerate(stack):
        kept.append(_runnable(layer, blocked, inherited, base=rank == 0))
        inherited |= {entry.path for entry in layer if entry.type == tarfile.DIRTYPE and (entry.mode & 0o2000 or entry.xattrs)}
        blocked |= {_hidden_by(entry) or entry.path for entry in kept[-1] if entry.type != tarfile.DIRTYPE and not _is_opaque(entry)}
    return kept


def tidy(stack: Sequence[Sequence[Entry]]) -> list[list[Entry]]:
    """The stack as builders of images write it: each layer names every directory above its entries, and no path twice; it removes nothing
    that it writes itself, the lowest one nothing at all; links give their file no attributes to lose, directories have none to merge. On
    these all runtimes agree."""
    return [_tidy(layer, base=rank == 0) for rank, layer in enumerate(stack)]


def _rename(entry: Entry, renamed: Mapping[bytes, bytes]) -> Entry:
    def rename(path: bytes) -> bytes:
        return b"/".join(_renamed(part, renamed) for part in path.split(b"/"))

    return replace(entry, path=rename(entry.path), target=rename(entry.target))


def _renamed(part: bytes, renamed: Mapping[bytes, bytes]) -> bytes:
    if part.startswith(layers.WHITEOUT) and part != layers.OPAQUE:
        name = renamed.get(part[4:], part[4:])
        return layers.WHITEOUT + name if len(name) <= 251 else part
    return renamed.get(part, part)


def _graft(entry: Entry, top: bytes) -> Entry:
    target = entry.target
    if entry.type == tarfile.LNKTYPE:
        target = top.lstrip(b"/") + b"/" + target
    elif target.startswith(b"/"):
        target = top + target
    return replace(entry, path=top + entry.path.rstrip(b"/"), target=target)


def _hidden_by(entry: Entry) -> bytes | None:
    """What a whiteout hides, the directory of an opaque mark included; None for any other entry."""
    above, _, name = entry.path.rpartition(b"/")
    if name == layers.OPAQUE:
        return above
    return above + b"/" + name.removeprefix(layers.WHITEOUT) if name.startswith(layers.WHITEOUT) else None


def _is_opaque(entry: Entry) -> bool:
    return entry.path.endswith(b"/" + layers.OPAQUE)


def _is_below(path: bytes, above: bytes) -> bool:
    return path == above or path.startswith(above + b"/")


def _parents(path: bytes) -> list[bytes]:
    return [path[:at] for at in range(1, len(path)) if path[at : at + 1] == b"/"]


def _runnable(layer: Sequence[Entry], blocked: Set[bytes], inherited: Set[bytes], *, base: bool) -> list[Entry]:
    kept: list[Entry] = []
    directories: set[bytes] = set()
    written: set[bytes] = set()
    for entry in layer:
        hidden = _hidden_by(entry)
        if not blocked.isdisjoint(_parents(entry.path)[:-1]):
            continue
        if hidden is not None and (base or not _is_opaque(entry)) and any(_is_below(path, hidden) for path in written):
            continue
        if hidden is None and entry.type != tarfile.DIRTYPE and any(_is_below(path, entry.path) for path in directories):
            continue
        if hidden is None and entry.type == tarfile.DIRTYPE:
            if entry.path in inherited and any(_is_below(path, entry.path) and path != entry.path for path in written):
                continue
            directories.add(entry.path)
        written.add(entry.path if hidden is None else hidden)
        kept.append(entry)
    return kept


def _tidy(layer: Sequence[Entry], *, base: bool) -> list[Entry]:
    tidied: list[Entry] = []
    kinds: dict[bytes, bytes] = {}
    gone: list[bytes] = []
    for entry in layer:
        hidden = _hidden_by(entry)
        parents = _parents(entry.path)
        if entry.path in kinds or any(kinds.get(parent, tarfile.DIRTYPE) != tarfile.DIRTYPE for parent in parents):
            continue
        if hidden is not None and (base or any(_is_below(path, hidden) for path in kinds)):
            continue
        if any(_is_below(entry.path, path) for path in gone):
            continue
        if entry.type == tarfile.LNKTYPE and kinds.get(b"/" + entry.target) != tarfile.REGTYPE:
            continue
        for parent in parents:
            if parent not in kinds:
                kinds[parent] = tarfile.DIRTYPE
                tidied.append(layers.directory(parent, 0o750, uid=2))
        if hidden is not None:
            gone.append(hidden)
        kinds[entry.path] = entry.type
        kept = {} if entry.type == tarfile.DIRTYPE else {name: value for name, value in entry.xattrs.items() if name.startswith("user.")}
        tidied.append(replace(entry, xattrs=kept))
    return tidied
