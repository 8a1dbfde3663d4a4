"""`intact baseline diff`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from intact.adapters.layout.names import DEFAULT_CONTAINERD
from intact.adapters.registry.access import RegistryAccess
from intact.baseline.formats.read import AUTO, READABLE
from intact.compare.images import Pairing, compare_images, find_bringer, pair_layers
from intact.model.entry import ancestors, display_path
from intact.model.errors import EXIT_CLEAN, EXIT_FINDINGS, EXIT_UNOBSERVED
from intact.model.finding import Change, Difference
from intact.model.layer import Baseline
from intact.model.stated import Aspect
from intact.run.cli.output import describe_known, output_option
from intact.run.cli.progress import show_progress
from intact.run.cli.registry import registry_options

from .changes import Changes, Place, count_bytes, print_changes
from .files import trust_option
from .inputs import Named, Opening, is_image, open_named

PROGRESS_EVERY = 1000


@click.command("diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--format", "form", type=click.Choice(READABLE), default=AUTO, show_default=True, help="What A or B is, if it is a list.")
@click.option("--all", "show_all", is_flag=True, help="Name every path; otherwise many changes of a layer are told by directory.")
@click.option("--platform", metavar="OS/ARCH", help="Of images: which one of an index.")
@registry_options
@click.option("--containerd", default=DEFAULT_CONTAINERD, show_default=True, metavar="SOCKET", help="containerd's socket.")
@trust_option
@output_option
def command(
    before: str, after: str, form: str, show_all: bool, platform: str | None, access: RegistryAccess, containerd: str,
    trust: tuple[Path, ...], output: str,
) -> int:  # fmt: skip
    """Says what changed from A to B, and which layer of B brought it.

    A and B are baseline files, lists that `intact baseline import` reads, or images (docker://…, oci:…, dir:…), which are read on the
    spot. What a list does not state is not compared.

    Exit codes: 0 nothing differs, 1 something does, 3 nothing does, but content could not be compared by a strong algorithm.
    """
    how = Opening(trust=trust, access=access, containerd=containerd, platform=platform, form=form)
    one, other = _open(before, after, how)
    pairing = pair_layers(one.baseline.layers, other.baseline.layers)
    if output == "jsonl":
        changes = Changes(keep=0)
        for difference, place in _compare(one.baseline, other.baseline, pairing, changes):
            click.echo(json.dumps(_describe(difference, place, one.baseline, other.baseline)))
    elif output == "json":
        changes = Changes(keep=0)
        found = [_describe(d, place, one.baseline, other.baseline) for d, place in _compare(one.baseline, other.baseline, pairing, changes)]
        click.echo(json.dumps(_describe_sides(one, other, pairing) | {"totals": changes.totals(), "differences": found}, indent=2))
    else:
        changes = Changes(keep=None if show_all else Changes.KEEP, unsized=_find_unsized(one.baseline, other.baseline))
        for _ in _compare(one.baseline, other.baseline, pairing, changes):
            pass
        print_changes(changes, one, other, pairing)
    return _tell(changes, one.baseline, other.baseline)


def _open(before: str, after: str, how: Opening) -> tuple[Named, Named]:
    """Both sides; an image is hashed with what the other side knows, and layers that were just proven are not read again."""
    if is_image(before) and not is_image(after):
        other = open_named(after, how)
        return open_named(before, how, other.baseline.algorithms, like=other.baseline), other
    one = open_named(before, how)
    return one, open_named(after, how, one.baseline.algorithms, like=one.baseline)


def _compare(before: Baseline, after: Baseline, pairing: Pairing, changes: Changes) -> Iterator[tuple[Difference, Place]]:
    with show_progress("comparing") as advance:
        for number, difference in enumerate(compare_images(before, after, pairing), 1):
            place = _find_place(before, after, pairing, difference)
            changes.take(difference, place)
            if number % PROGRESS_EVERY == 0:
                advance(f"{number:,} differences", 0, 0)
            yield difference, place


def _find_unsized(before: Baseline, after: Baseline) -> frozenset[Change]:
    sides = {Change.DELETED: before, Change.ADDED: after}
    return frozenset(change for change, side in sides.items() if Aspect.SIZE not in side.stated.aspects)


def _find_place(before: Baseline, after: Baseline, pairing: Pairing, difference: Difference) -> Place:
    """The layer of B that brought it, of those that A does not have; where none did, the layer of A that B does not have any more; where
    none had it, the one that did either to a directory above: that gives its group to directories that no layer names (mkdir(2))."""
    ours = frozenset(range(len(after.layers))) - pairing.after
    theirs = frozenset(range(len(before.layers))) - pairing.before
    for path in (difference.path, *ancestors(difference.path)):
        if (number := find_bringer(after.layers, path, ours)) is not None:
            return Place(is_after=True, number=number)
        if (number := find_bringer(before.layers, path, theirs)) is not None:
            return Place(is_after=False, number=number)
    return Place(is_after=False, number=0)


def _describe(difference: Difference, place: Place, before: Baseline, after: Baseline) -> dict[str, Any]:
    layers = after.layers if place.is_after else before.layers
    return {
        "type": "difference",
        "path": display_path(difference.path),
        "change": difference.change.value,
        "fields": list(difference.fields),
        "layer": {"of": "after" if place.is_after else "before", "number": place.number + 1, "diffId": str(layers[place.number].diff_id)},
        "before": describe_known(difference.expected, before.stated),
        "after": describe_known(difference.actual, after.stated),
        "bytes": count_bytes(difference),
    }


def _describe_sides(one: Named, other: Named, pairing: Pairing) -> dict[str, Any]:
    def side(named: Named) -> dict[str, Any]:
        baseline = named.baseline
        return {
            "name": named.name,
            "key": str(baseline.key),
            "root": str(baseline.root),
            "grade": baseline.grade.title,
            "layers": [str(layer.diff_id) for layer in baseline.layers],
            "notStated": list(baseline.stated.name_missing()),
        }

    shared = [{"before": before + 1, "after": after + 1} for before, after in pairing.pairs]
    return {"before": side(one), "after": side(other), "sharedLayers": shared}


def _tell(changes: Changes, before: Baseline, after: Baseline) -> int:
    missing = sorted({*before.stated.name_missing(), *after.stated.name_missing()})
    if missing:
        click.echo(f"not compared, as not both state it: {', '.join(missing)}", err=True)
    is_weak = before.stated.is_weak or after.stated.is_weak
    if is_weak:
        click.echo("content was compared by MD5 or SHA-1 alone: files that differ can have the same values", err=True)
    unread = changes.counts[Change.UNREAD]
    if unread:
        click.echo(f"content of {unread:,} files was not compared: the two have no algorithm in common", err=True)
    if changes.counts.total() > unread:
        return EXIT_FINDINGS
    return EXIT_UNOBSERVED if unread or is_weak else EXIT_CLEAN
