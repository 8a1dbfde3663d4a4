"""`intact baseline show`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from intact.adapters.layout.names import DEFAULT_CONTAINERD
from intact.adapters.registry.access import RegistryAccess
from intact.baseline.formats.describe import Contents, count_layer, count_tree, describe, describe_layer
from intact.baseline.formats.losses import name_kinds
from intact.baseline.signing import open_envelope
from intact.model.entry import Kind
from intact.run.cli.progress import show_progress
from intact.run.cli.registry import registry_options
from intact.run.trust import open_trust

from .files import clean, trust_option
from .inputs import Named, Opening, open_named
from .sizes import show_size


@click.command("show")
@click.argument("source")
@trust_option
@click.option("--platform", metavar="OS/ARCH", help="Of an image: which one of an index.")
@registry_options
@click.option("--containerd", default=DEFAULT_CONTAINERD, show_default=True, metavar="SOCKET", help="containerd's socket.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print the result.")
def command(source: str, trust: tuple[Path, ...], platform: str | None, access: RegistryAccess, containerd: str, output: str) -> None:
    """Shows what SOURCE says: of which image, by whom, of how many files, and what it does not know.

    SOURCE is a baseline file, a list that `intact baseline import` reads, or an image. Without --trust nobody vouches for a file.
    """
    named = open_named(source, Opening(trust=trust, access=access, containerd=containerd, platform=platform))
    with show_progress("counting") as advance:
        advance("entries", 0, 0)
        described = describe(named.baseline) | _describe_contents(named)
    described["signatures"] = _describe_signatures(named, trust)
    if output == "json":
        click.echo(json.dumps(described, indent=2))
    else:
        _print(described, named)


def _describe_contents(named: Named) -> dict[str, Any]:
    tree = count_tree(named.baseline)
    layers = [describe_layer(layer) | _describe(count_layer(layer)) for layer in named.baseline.layers]
    return {"layers": layers, "entries": {kind.value: tree.kinds[kind] for kind in Kind if tree.kinds[kind]}, "bytes": tree.size_bytes}


def _describe(contents: Contents) -> dict[str, int]:
    return {"files": contents.kinds[Kind.FILE], "bytes": contents.size_bytes, "whiteouts": contents.whiteouts, "opaque": contents.opaque}


def _describe_signatures(named: Named, trust: tuple[Path, ...]) -> list[dict[str, Any]]:
    if named.envelope is None:
        return []
    trusted = open_trust(trust, time.time())
    opened = open_envelope(named.envelope, trusted=trusted.keys, refused=trusted.refused, allow_unsigned=True)
    return [{"keyId": one.key_id, "counts": one.counts, "why": one.why} for one in opened.signatures]


def _print(described: dict[str, Any], named: Named) -> None:
    rows = [(name, str(described[name])) for name in ("key", "root", "grade", "source", "platform") if described[name]]
    rows += [("alias", alias) for alias in described["aliases"]]
    for one in described["signatures"]:
        rows.append(("signed by", f"{one['keyId'][:100]}: {'counts' if one['counts'] else one['why'] or 'not a trusted key'}"))
    if not described["signatures"]:
        rows.append(("signed by", "nobody"))
    algorithms = named.baseline.algorithms
    rows.append(("hashes", f"{', '.join(algorithms.further)} (decides nothing)" if named.baseline.stated.is_weak else algorithms.described))
    rows.append(("entries", ", ".join(name_kinds({Kind(kind): count for kind, count in described["entries"].items()}))))
    rows.append(
        ("bytes", f"{described['bytes']:,} ({show_size(described['bytes'])})" if "size" not in _missing(described) else "not known")
    )
    if _missing(described):
        rows.append(("not known", ", ".join(_missing(described))))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}} {clean(value)}")
    click.echo(f"{'LAYER':<6}{'ENTRIES':>9}{'SIZE':>10}{'REMOVES':>9}  DIFF ID")
    for index, layer in enumerate(described["layers"], 1):
        removes = layer["whiteouts"] + layer["opaque"]
        size = "-" if "size" in _missing(described) else show_size(layer["bytes"])
        click.echo(f"{index:<6}{layer['entries']:>9,}{size:>10}{removes:>9,}  {layer['diffId']}")


def _missing(described: dict[str, Any]) -> list[str]:
    found: list[str] = described.get("notStated", [])
    return found
