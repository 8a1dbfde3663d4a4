"""An image whose layers are there only as a runtime unpacked them → a Baseline of grade FIRST_SEEN.

In: the source of the image's documents, which are verified (`image.resolve`), and one reading of each layer's directory, the lowest first.
Out: what the layers hold now. Nobody proves that it is what the image's makers packed: whatever changed before this first look is not seen.
Never guesses: a layer of which anything could not be read is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from intact.model.digest import Digest
from intact.model.encoding import seal
from intact.model.entry import display_path
from intact.model.errors import InputError
from intact.model.layer import Baseline, Form, Grade, LayerTable, Record
from intact.model.observation import Unobserved

from .image import Sealer, resolve, stands
from .limits import Limits
from .ports import BlobSource

FIRST_SIGHT = "first-sight"


def ingest_unpacked(
    source: BlobSource,
    directories: Sequence[Callable[[], Iterable[Record | Unobserved]]],
    *,
    known_layers: Callable[[Digest], LayerTable | None] = lambda _: None,
    limits: Limits | None = None,
    seal: Sealer = seal,
) -> Baseline:
    """Reads each layer through its entry of `directories`, records sorted by path; one whose table is known by diff_id is not read.

    Raises InputError where the image has another number of layers, or one could not be read whole, and as `ingest`.
    """
    image = resolve(source, limits=limits or Limits())
    diff_ids = image.config.diff_ids
    if len(diff_ids) != len(directories):
        raise InputError(f"{source.name} has {len(diff_ids)} layers, {len(directories)} are unpacked", code="FirstSight")
    tables = []
    for index, (diff_id, read) in enumerate(zip(diff_ids, directories, strict=True)):
        known = known_layers(diff_id)
        tables.append(known if known is not None and stands(known, diff_id, base=index == 0) else _read(diff_id, read, seal))
    return Baseline(
        key=image.manifest.config.digest,
        layers=tuple(tables),
        grade=Grade.FIRST_SEEN,
        source=f"{FIRST_SIGHT}:{source.name}",
        aliases=image.aliases,
        platform=image.config.platform,
    )


def _read(diff_id: Digest, read: Callable[[], Iterable[Record | Unobserved]], seal: Sealer) -> LayerTable:
    """On disk a whiteout is there whatever it hides, so a table of an unpacked layer may stand only where it was read."""
    records = list(_whole(diff_id, read()))
    hides = any(record.entry is None or record.opaque for record in records)
    return seal(diff_id, Form.STACKED if hides else Form.PLAIN, records)


def _whole(diff_id: Digest, found: Iterable[Record | Unobserved]) -> Iterator[Record]:
    for record in found:
        if isinstance(record, Unobserved):
            where = display_path(record.path, 200)
            raise InputError(f"layer {diff_id} cannot be read whole at {where}: {record.reason}", code="FirstSight")
        yield record
