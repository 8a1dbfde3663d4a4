"""What a signature on a baseline says: an in-toto statement (attestation framework v1) that binds everything but the tables' content,
and of that, the roots. A list that does not state everything has another predicate type, so that nobody takes it for more.

In: a baseline; out: the statement's bytes, and back. Never looks into a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intact.model.bytestext import escape_bytes, unescape_bytes
from intact.model.digest import Algorithms, Digest
from intact.model.encoding import is_table_path
from intact.model.entry import Kind
from intact.model.errors import InputError
from intact.model.layer import Baseline, Form, Grade
from intact.model.stated import EVERYTHING, Aspect, Stated

from .signing import MAX_ENVELOPE_BYTES, decode_json, encode_json

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://intact.dev/baseline/v1"
LISTING_TYPE = "https://intact.dev/listing/v1"
MAX_LAYERS = 1000
MAX_TEXT = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerClaim:
    diff_id: Digest
    root: Digest
    form: Form
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`grade` is how far the one who signed trusted it; `root` the whole baseline's."""

    key: Digest
    aliases: tuple[str, ...]
    platform: str
    source: str
    grade: Grade
    layers: tuple[LayerClaim, ...]
    root: Digest
    algorithms: Algorithms
    stated: Stated = EVERYTHING


def encode_statement(baseline: Baseline) -> bytes:
    layers = [
        {"diffId": str(layer.diff_id), "entries": len(layer), "form": layer.form.name, "tableRoot": str(layer.root)}
        for layer in baseline.layers
    ]
    predicate: dict[str, Any] = {
        "algorithms": list(baseline.algorithms.names),
        "aliases": list(baseline.aliases),
        "grade": baseline.grade.name,
        "layers": layers,
        "platform": baseline.platform,
        "root": str(baseline.root),
        "source": baseline.source,
    }
    stated = baseline.stated
    if not stated.is_everything:
        predicate["stated"] = {
            "aspects": sorted(stated.aspects),
            "below": [escape_bytes(path) for path in stated.below],
            "kinds": sorted(stated.kinds),
        }
    kind = PREDICATE_TYPE if stated.is_everything else LISTING_TYPE
    subject = [{"digest": {baseline.key.algorithm: baseline.key.hex}, "name": "image-config"}]
    return encode_json({"_type": STATEMENT_TYPE, "predicate": predicate, "predicateType": kind, "subject": subject})


def decode_statement(payload: bytes, *, allow_listing: bool = False) -> Statement:
    """Raises InputError unless it is a baseline's statement, complete and canonical; a list's only where that was asked for."""
    document = decode_json(payload, "baseline statement", MAX_ENVELOPE_BYTES)
    kind = document.get("predicateType")
    if document.get("_type") != STATEMENT_TYPE or kind not in (PREDICATE_TYPE, LISTING_TYPE):
        raise InputError("the signed statement is not about a baseline", code="Statement")
    if kind == LISTING_TYPE and not allow_listing:
        raise InputError("this is a list that states only a part of each file, not a baseline", code="Listing",
                         hint="it serves intact check and intact baseline diff; build a baseline from the image")  # fmt: skip
    try:
        predicate = document["predicate"]
        (subject,) = document["subject"]
        ((algorithm, value),) = subject["digest"].items()
        layers = predicate["layers"]
        if len(layers) > MAX_LAYERS:
            raise InputError(f"the baseline has more than {MAX_LAYERS} layers", code="Statement")
        return Statement(
            key=Digest.parse(f"{algorithm}:{value}"),
            aliases=tuple(_text(alias) for alias in predicate["aliases"]),
            platform=_text(predicate["platform"]),
            source=_text(predicate["source"]),
            grade=Grade[predicate["grade"]],
            layers=tuple(_layer(layer) for layer in layers),
            root=Digest.parse(_text(predicate["root"])),
            algorithms=_algorithms(predicate["algorithms"]),
            stated=_stated(predicate["stated"]) if kind == LISTING_TYPE else EVERYTHING,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the baseline statement is malformed: {error}", code="Statement") from None


def _layer(item: Mapping[str, Any]) -> LayerClaim:
    entries = item["entries"]
    if type(entries) is not int:
        raise TypeError("entries is not a number")
    return LayerClaim(
        diff_id=Digest.parse(_text(item["diffId"])), root=Digest.parse(_text(item["tableRoot"])), form=Form[item["form"]], entries=entries
    )


def _algorithms(names: list[str]) -> Algorithms:
    algorithms = Algorithms.choose(names)
    if list(algorithms.names) != names:
        raise ValueError("the algorithms are out of order")
    return algorithms


def _stated(item: Mapping[str, Any]) -> Stated:
    below = [unescape_bytes(_text(path)) for path in item["below"]]
    stated = Stated(
        kinds=frozenset(map(Kind, item["kinds"])), aspects=frozenset(map(Aspect, item["aspects"])), below=tuple(sorted(set(below)))
    )
    if stated.is_everything or not stated.kinds or not below or len(below) > MAX_LAYERS or not all(map(is_table_path, below)):
        raise ValueError("what it states is everything, or nothing, or below impossible paths")
    return stated


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise TypeError("a text is missing or too long")
    return value
