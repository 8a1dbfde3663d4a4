"""Laws of comparison: an image equals itself, whatever is changed is found and named, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from intact.compare.differ import compare, compare_layer
from intact.compare.judge import judge
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind, ancestors
from intact.model.finding import Change, State
from intact.model.layer import Baseline, Record
from intact.model.observation import Scope
from tests.unit.trees import directory, file, image, link, seen

NAMES = st.sampled_from([b"a", b"b", b"a-", b"a b", b"\xff", b"etc", b"x.php", b"\n"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: b"/" + b"/".join(parts))


@st.composite
def entries(draw: st.DrawFn, path: bytes) -> Entry:
    mode, uid = draw(st.sampled_from([0o644, 0o755, 0o4755])), draw(st.sampled_from([0, 33]))
    match draw(st.sampled_from([Kind.FILE, Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK])):
        case Kind.FILE:
            return file(path, draw(st.binary(max_size=3)), mode, uid=uid)
        case Kind.SYMLINK:
            return link(path, draw(st.sampled_from([b"/a", b"b"])))
        case _:
            return replace(directory(path, mode), uid=uid)


@st.composite
def trees(draw: st.DrawFn) -> dict[bytes, Entry]:
    """A consistent tree: what has something below it is a directory."""
    tree = {b"/": directory(b"/")}
    for path in draw(st.lists(PATHS, max_size=8, unique=True)):
        if any(path.startswith(other + b"/") for other in tree if tree[other].kind is not Kind.DIRECTORY):
            continue
        for above in ancestors(path):
            tree.setdefault(above, directory(above))
        if path not in tree:
            tree[path] = draw(entries(path))
    return tree


def baseline(tree: dict[bytes, Entry]) -> Baseline:
    return image(*tree.values())


def whole(tree: dict[bytes, Entry]) -> tuple[Entry, ...]:
    return tuple(tree.values())


@given(trees(), st.data())
def test_an_image_that_runs_untouched_has_no_difference(tree: dict[bytes, Entry], data: st.DataObject) -> None:
    of = baseline(tree)
    assert compare(of, seen(*whole(tree), scope=Scope.TREE)) == ()
    copied_up = data.draw(st.lists(st.sampled_from(sorted(tree)), unique=True))
    observation = seen(*(tree[path] for path in copied_up))
    assert compare(of, observation) == ()
    assert judge(of, observation, ()).state is State.INTACT
    assert list(compare_layer(of.layers[0], (Record(path=p, entry=tree[p]) for p in sorted(tree)))) == []


@given(trees(), trees())
def test_comparison_the_other_way_round_tells_the_mirror_image(one: dict[bytes, Entry], other: dict[bytes, Entry]) -> None:
    mirrored = {Change.ADDED: Change.DELETED, Change.DELETED: Change.ADDED}
    there = compare(baseline(one), seen(*whole(other), scope=Scope.TREE))
    back = compare(baseline(other), seen(*whole(one), scope=Scope.TREE))
    assert [(d.path, mirrored.get(d.change, d.change), d.fields, d.actual, d.expected) for d in there] == [
        (d.path, d.change, d.fields, d.expected, d.actual) for d in back
    ]


@given(trees(), trees())
def test_exactly_the_paths_that_differ_are_told_in_order(one: dict[bytes, Entry], other: dict[bytes, Entry]) -> None:
    def meaning(entry: Entry | None) -> Entry | None:
        return replace(entry, mode=0) if entry is not None and entry.kind is Kind.SYMLINK else entry

    told = [d.path for d in compare(baseline(one), seen(*whole(other), scope=Scope.TREE))]
    assert told == sorted(path for path in one.keys() | other.keys() if meaning(one.get(path)) != meaning(other.get(path)))


@given(trees(), trees())
def test_the_writable_layer_tells_the_same_as_a_walk_of_the_whole(one: dict[bytes, Entry], other: dict[bytes, Entry]) -> None:
    """An overlay's upper directory for `one` becoming `other`: what is new or different, and whiteouts for what is gone."""
    of = baseline(one)
    upper = [entry for path, entry in other.items() if one.get(path) != entry]
    gone = [path for path in one if path not in other and all(above in other for above in ancestors(path))]
    whiteouts = tuple(path for path in gone if other[path.rpartition(b"/")[0] or b"/"].kind is Kind.DIRECTORY)
    assert compare(of, seen(*upper, absent=whiteouts)) == compare(of, seen(*whole(other), scope=Scope.TREE))


@given(trees(), st.data())
def test_every_mutation_is_found_and_named(tree: dict[bytes, Entry], data: st.DataObject) -> None:
    files = sorted(path for path, entry in tree.items() if entry.kind is Kind.FILE)
    assume(files)
    path = data.draw(st.sampled_from(files))
    before = tree[path]
    field, after = data.draw(
        st.sampled_from(
            [
                ("content", replace(before, digest=Digest.of(b"another"))),
                ("size", replace(before, size_bytes=before.size_bytes + 1, digest=None)),
                ("mode", replace(before, mode=before.mode ^ 0o4000)),
                ("uid", replace(before, uid=before.uid + 1)),
                ("gid", replace(before, gid=7)),
                ("xattrs", replace(before, xattrs=((b"user.x", b"y"),))),
                ("type", link(path, b"/elsewhere")),
                ("unread", replace(before, digest=None)),
            ]
        )
    )
    of = baseline(tree)
    for observation in (seen(after), seen(*(tree | {path: after}).values(), scope=Scope.TREE)):
        (difference,) = compare(of, observation)
        assert difference.path == path
        assert field in difference.fields
        assert judge(of, observation, (difference,)).state is not State.INTACT or "log" in str(path)
