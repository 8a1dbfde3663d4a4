"""Laws of comparing two images: asking only where layers differ says what reading both whole says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from intact.compare.differ import compare_entries
from intact.compare.images import compare_images, find_bringer, pair_layers
from intact.model.digest import Digest
from intact.model.encoding import seal
from intact.model.entry import Entry, Kind, ancestors
from intact.model.finding import Change, Difference
from intact.model.layer import Baseline, Form, Grade, LayerTable, Record, complete_parents
from tests.property.test_stack_laws import make_stack
from tests.unit.trees import directory, file, link


def make_image(layers: tuple[LayerTable, ...]) -> Baseline:
    return Baseline(key=Digest.of(b"config"), layers=layers, grade=Grade.VERIFIED, source="oci:x")


def read_whole(before: Baseline, after: Baseline) -> list[Difference]:
    one, other = {e.path: e for e in before.scan()}, {e.path: e for e in after.scan()}
    found = []
    for path in sorted({*one, *other}):
        if path in one and path in other:
            found.append(compare_entries(one[path], other[path]))
        else:
            change = Change.DELETED if path in one else Change.ADDED
            found.append(Difference(path=path, change=change, expected=one.get(path), actual=other.get(path)))
    return [difference for difference in found if difference is not None]


def mix(seed: int, other_seed: int, picks: list[int]) -> tuple[Baseline, Baseline]:
    """Two images that have some layers in common, in different places."""
    ours, others = make_stack(seed), make_stack(other_seed)
    after = list(ours)
    for pick in picks:
        match pick % 3:
            case 0 if len(after) > 1:
                del after[pick % len(after)]
            case 1 if others:
                after.insert(pick % (len(after) + 1), others[pick % len(others)])
            case _ if others and after:
                after[pick % len(after)] = others[pick % len(others)]
    return make_image(ours), make_image(tuple(after))


@given(st.integers(0, 100_000), st.integers(0, 100_000), st.lists(st.integers(0, 1000), max_size=3))
@example(0, 1471, [1])
def test_asking_path_by_path_finds_what_reading_both_finds(seed: int, other_seed: int, picks: list[int]) -> None:
    before, after = mix(seed, other_seed, picks)
    expected = read_whole(before, after)
    assert list(compare_images(before, after, read_all_from=0)) == expected
    assert list(compare_images(before, after, read_all_from=1000)) == expected
    pairing = pair_layers(before.layers, after.layers)
    unpaired = [frozenset(range(len(image.layers))) for image in (before, after)]
    for difference in expected:  # each is what some unpaired layer did to it, or to a directory above whose group it has
        assert any(
            find_bringer(after.layers, path, unpaired[1] - pairing.after) is not None
            or find_bringer(before.layers, path, unpaired[0] - pairing.before) is not None
            for path in (difference.path, *ancestors(difference.path))
        )


@given(st.integers(0, 100_000))
def test_an_image_does_not_differ_from_itself_and_no_layer_is_read(seed: int) -> None:
    image = make_image(make_stack(seed))
    assert list(compare_images(image, image, read_all_from=0)) == []
    assert len(pair_layers(image.layers, image.layers).pairs) == len(image.layers)


@pytest.mark.parametrize("upper_has_subdirectory", [False, True])
def test_a_set_group_id_base_changes_directories_that_a_shared_layer_implies(upper_has_subdirectory: bool) -> None:
    def base(gid: int) -> LayerTable:
        root = Record(path=b"/", entry=directory(b"/"))
        return seal(Digest.of(b"base"), Form.PLAIN, (root, Record(path=b"/srv", entry=replace(directory(b"/srv", 0o2775), gid=gid))))

    deep = b"/srv/a/b" if upper_has_subdirectory else b"/srv/a"
    upper = seal(Digest.of(b"upper"), Form.PLAIN, complete_parents({deep: Record(path=deep, entry=file(deep))}))
    before, after = make_image((base(5), upper)), make_image((base(6), upper))
    found = list(compare_images(before, after, read_all_from=0))
    assert found == read_whole(before, after)


def test_a_link_in_a_changed_base_moves_what_a_shared_layer_implies() -> None:
    def base(target: bytes) -> LayerTable:
        entries: tuple[Entry, ...] = (directory(b"/a", 0o700), directory(b"/b", 0o711), link(b"/lib", target))
        return seal(
            Digest.of(b"base"), Form.PLAIN, complete_parents({entry.path: Record(path=entry.path, entry=entry) for entry in entries})
        )

    upper = seal(Digest.of(b"upper"), Form.PLAIN, complete_parents({b"/lib/x": Record(path=b"/lib/x", entry=file(b"/lib/x"))}))
    before, after = make_image((base(b"a"), upper)), make_image((base(b"b"), upper))
    found = list(compare_images(before, after, read_all_from=0))
    assert found == read_whole(before, after)
    assert {d.path for d in found} == {b"/lib"}
    assert found[0].actual is not None
    assert found[0].actual.kind is Kind.DIRECTORY
