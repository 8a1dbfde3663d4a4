"""Two images compared: what is shared is not read, and what is not stated is not compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from intact.compare.images import compare_images, find_bringer, pair_layers
from intact.model.digest import Algorithms, Digest
from intact.model.entry import Entry, Kind
from intact.model.finding import Change
from intact.model.layer import Baseline, Form, Grade, LayerTable, Record
from intact.model.stated import Aspect, Stated
from tests.unit.trees import directory, file, layer, link, table

MILLION = 1_000_000


@dataclass(slots=True)
class Huge:
    """A layer of a million files that may be asked for a path or a directory, but not be read whole."""

    diff_id: Digest = field(default_factory=lambda: Digest.of(b"huge"))
    root: Digest = field(default_factory=lambda: Digest.of(b"huge root"))
    form: Form = Form.PLAIN
    algorithms: Algorithms | None = None
    finds: int = 0
    scanned: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return MILLION

    def find(self, path: bytes) -> Record | None:
        self.finds += 1
        if path in (b"/", b"/data"):
            return Record(path=path, entry=directory(path))
        if path.startswith(b"/data/") and path[6:].isdigit() and int(path[6:]) < MILLION:
            return Record(path=path, entry=file(path, path))
        return None

    def release(self) -> None:
        """Nothing is held."""

    def paths(self) -> Iterator[bytes]:
        raise AssertionError("a shared layer is not walked")

    def scan(self, prefix: bytes = b"/") -> Iterator[Record]:
        assert prefix not in (b"/", b"/data"), "a shared layer is not walked"
        self.scanned.append(prefix)
        return iter(())


def image(*layers: LayerTable) -> Baseline:
    return Baseline(key=Digest.of(b"config"), layers=layers, grade=Grade.VERIFIED, source="oci:x")


def test_a_million_shared_entries_are_not_read() -> None:
    shared, top = Huge(), file(b"/data/7", b"changed")
    before = image(shared, layer(file(b"/app", b"1")))
    after = image(shared, layer(file(b"/app", b"2"), top), table([Record(path=b"/data/9", entry=None)], b"third"))
    found = [(d.path, d.change) for d in compare_images(before, after)]
    assert found == [(b"/app", Change.MODIFIED), (b"/data/7", Change.MODIFIED), (b"/data/9", Change.DELETED)]
    assert shared.finds < 200
    assert len(shared.scanned) < 20


def test_identical_images_ask_nothing_at_all() -> None:
    shared = Huge()
    assert list(compare_images(image(shared), image(shared))) == []
    assert (shared.finds, shared.scanned) == (0, [])


def test_layers_are_paired_in_order_wherever_they_lie() -> None:
    a, b, c, d = (layer(file(b"/" + name)) for name in (b"a", b"b", b"c", b"d"))
    assert pair_layers((a, b, c), (a, b, c)).pairs == ((0, 0), (1, 1), (2, 2))
    assert pair_layers((a, b, c), (d, b, c)).pairs == ((1, 1), (2, 2))
    assert pair_layers((a, b), (b, a)).pairs in {((0, 1),), ((1, 0),)}
    assert pair_layers((a, a), (a,)).pairs == ((0, 0),)
    assert pair_layers((), (a,)).pairs == ()


def test_a_difference_is_its_layers_doing() -> None:
    base, gone = layer(file(b"/etc/a"), file(b"/etc/b"), file(b"/srv/x")), layer(file(b"/old"))
    removing = table([Record(path=b"/etc/a", entry=None), Record(path=b"/srv", entry=directory(b"/srv"), opaque=True)], b"removing")
    before, after = image(base, gone), image(base, removing, layer(file(b"/new")))
    pairing = pair_layers(before.layers, after.layers)
    found = {d.path: (d.change, find_bringer(after.layers, d.path, {1, 2})) for d in compare_images(before, after, pairing)}
    assert found == {
        b"/etc/a": (Change.DELETED, 1),
        b"/new": (Change.ADDED, 2),
        b"/old": (Change.DELETED, None),
        b"/srv/x": (Change.DELETED, 1),
    }
    assert find_bringer(before.layers, b"/old", {1}) == 1


FILES = Stated(kinds=frozenset({Kind.FILE}), aspects=frozenset({Aspect.CONTENT}))
WEAK = Stated(kinds=frozenset({Kind.FILE}), aspects=frozenset({Aspect.WEAK_CONTENT}))


def listing(*entries: Entry, stated: Stated = FILES) -> Baseline:
    return replace(image(layer(*entries)), stated=stated, grade=Grade.SUPPLIED)


def listed(path: bytes, content: bytes) -> Entry:
    return Entry(path=path, kind=Kind.FILE, mode=0, digest=Digest.of(content))


@pytest.mark.parametrize("turned", [False, True])
def test_a_list_is_compared_in_what_it_states(turned: bool) -> None:
    whole = image(layer(file(b"/a", b"a", 0o4755, uid=5), file(b"/b", b"b"), file(b"/c"), directory(b"/d"), link(b"/l", b"x")))
    known = listing(listed(b"/a", b"a"), listed(b"/b", b"other"), listed(b"/z", b"z"))
    pair = (known, whole) if turned else (whole, known)
    found = [(d.path, d.change, d.fields) for d in compare_images(*pair)]
    ours, theirs = (Change.ADDED, Change.DELETED) if turned else (Change.DELETED, Change.ADDED)
    assert found == [(b"/b", Change.MODIFIED, ("content",)), (b"/c", ours, ()), (b"/z", theirs, ())]


def test_weak_digests_show_what_differs_and_nothing_else() -> None:
    def weak(path: bytes, value: bytes) -> Entry:
        return Entry(path=path, kind=Kind.FILE, mode=0, further=(Digest("md5", value * 16),))

    whole = image(layer(*(replace(file(path), further=(Digest("md5", b"1" * 16),)) for path in (b"/same", b"/other"))))
    found = list(compare_images(whole, listing(weak(b"/same", b"1"), weak(b"/other", b"2"), stated=WEAK)))
    assert [(d.path, d.change) for d in found] == [(b"/other", Change.MODIFIED)]


def test_content_without_an_algorithm_in_common_is_not_called_equal() -> None:
    whole, other = image(layer(file(b"/a"))), replace(file(b"/a"), digest=Digest.of(b"x", "sha512"))
    assert [d.change for d in compare_images(whole, image(layer(other)))] == [Change.UNREAD]
    md5 = (Digest("md5", bytes(16)),)
    both = replace(file(b"/a"), further=md5), replace(other, further=md5)
    assert [d.change for d in compare_images(image(layer(both[0])), image(layer(both[1])))] == [Change.UNREAD]


def test_two_lists_that_both_lack_an_aspect_do_not_differ_by_placeholders() -> None:
    one = listing(replace(listed(b"/a", b"a"), mode=1, uid=2))
    assert list(compare_images(one, listing(listed(b"/a", b"a")))) == []
