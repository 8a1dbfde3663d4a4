"""What a person or a program wants to know of a baseline without reading its entries."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from intact.model.entry import Kind
from intact.model.layer import Baseline, LayerTable

from .document import describe_stated


@dataclass(slots=True)
class Contents:
    """What lies in a layer, or in a whole tree: `kinds` counts entries, `size_bytes` adds up its files."""

    kinds: Counter[Kind] = field(default_factory=Counter)
    size_bytes: int = 0
    whiteouts: int = 0
    opaque: int = 0


def describe(baseline: Baseline) -> dict[str, Any]:
    """Its head: names, grade, algorithms, layers; no entry is read."""
    described: dict[str, Any] = {
        "key": str(baseline.key),
        "root": str(baseline.root),
        "grade": baseline.grade.title,
        "source": baseline.source,
        "platform": baseline.platform,
        "aliases": list(baseline.aliases),
        "algorithms": list(baseline.algorithms.names),
        "forComparisonOnly": list(baseline.algorithms.further),
        "layers": [describe_layer(layer) for layer in baseline.layers],
    }
    if not baseline.stated.is_everything:
        described["stated"] = describe_stated(baseline.stated)
        described["notStated"] = list(baseline.stated.name_missing())
    return described


def describe_layer(layer: LayerTable) -> dict[str, Any]:
    return {"diffId": str(layer.diff_id), "tableRoot": str(layer.root), "form": layer.form.name, "entries": len(layer)}


def count_layer(layer: LayerTable) -> Contents:
    """What one layer brings, and what it removes."""
    found = Contents()
    for record in layer.scan():
        if record.entry is None:
            found.whiteouts += 1
            continue
        found.opaque += record.opaque
        if not record.implicit:
            found.kinds[record.entry.kind] += 1
            found.size_bytes += record.entry.size_bytes
    return found


def count_tree(baseline: Baseline) -> Contents:
    """What a container of the image shows, of what the baseline speaks of."""
    found = Contents()
    for entry in baseline.scan():
        if baseline.stated.speaks_of(entry):
            found.kinds[entry.kind] += 1
            found.size_bytes += entry.size_bytes
    return found
