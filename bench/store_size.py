"""What baselines take where they are stored: bytes a file on disk, and 1,000 synthetic images that share layers.

Prints one line of JSON. The images are made of few bases, some middle layers each, and one layer of their own, as a company's images are.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intact.adapters.store.baselines import BaselineDirectory
from intact.adapters.store.cached import TableCache
from intact.adapters.store.database import Database
from intact.adapters.store.object_settings import ObjectSettings
from intact.adapters.store.objects import Bucket
from intact.adapters.store.shared_baselines import SharedBaselines
from intact.baseline.ports import BaselineFiles
from intact.baseline.signing import KeySigner
from intact.baseline.store import BaselineStore
from intact.baseline.table import MappedTable, seal_table
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.layer import Baseline, Form, Grade, Record, complete_parents

IMAGES, BASES, MIDDLES = 1000, 8, 40
BASE_FILES, MIDDLE_FILES, OWN_FILES = 6000, 1500, 200


def make_layer(name: str, files: int) -> MappedTable:
    records = {}
    for number in range(files):
        path = f"/usr/lib/{name}/package-{number // 40}/module_{number:05}.so".encode()
        digest = Digest("sha256", hashlib.sha256(path).digest())
        records[path] = Record(path=path, entry=Entry(path=path, kind=Kind.FILE, mode=0o644, size_bytes=number, digest=digest))
    return seal_table(Digest.of(name.encode()), Form.PLAIN, complete_parents(records))


def make_images() -> Iterator[Baseline]:
    bases = [make_layer(f"base{n}", BASE_FILES) for n in range(BASES)]
    middles = [make_layer(f"middle{n}", MIDDLE_FILES) for n in range(MIDDLES)]
    for number in range(IMAGES):
        own = make_layer(f"own{number}", OWN_FILES)
        middle = number % MIDDLES
        key = Digest.of(f"image{number}".encode())
        yield Baseline(
            key=key,
            layers=(bases[middle % BASES], middles[middle], own),
            grade=Grade.VERIFIED,
            source=f"docker://registry.example/team/app{number}@{key}",
            aliases=(f"registry.example/team/app{number}@{key}",),
            platform="linux/amd64",
        )


def measure(files: BaselineFiles, directory: Path) -> dict[str, object]:
    store = BaselineStore(files, signer=KeySigner(Ed25519PrivateKey.generate()))
    entries = tables = path_bytes = 0
    seen: set[Digest] = set()
    began = time.monotonic()
    whole = 0
    for baseline in make_images():
        store.put(baseline)
        for layer in baseline.layers:
            assert isinstance(layer, MappedTable)
            whole += len(layer.data)
            if layer.root not in seen:
                seen.add(layer.root)
                entries += len(layer)
                tables += len(layer.data)
                path_bytes += sum(len(record.path) for record in layer.scan())
    stored = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return {
        "images": IMAGES,
        "seconds": round(time.monotonic() - began, 1),
        "tables": len(seen),
        "entries": entries,
        "stored_bytes": stored,
        "table_bytes": tables,
        "bytes_per_entry": round(tables / entries, 1),
        "of_which_path_bytes": round(path_bytes / entries, 1),
        "index_bytes_per_image": round((stored - tables) / IMAGES),
        "unshared_bytes": whole,
        "sharing_saves": round(1 - tables / whole, 3),
    }


def main() -> None:
    for kind in ("files", "sqlite and bucket"):
        with tempfile.TemporaryDirectory() as name:
            kept, apart = Path(name, "kept"), Path(name, "copies")
            if kind == "files":
                with closing(BaselineDirectory(kept)) as files:
                    found = measure(files, kept)
            else:
                with closing(Database.in_directory(kept)) as database:
                    bucket = Bucket(ObjectSettings(url=(kept / "objects").as_uri()))
                    found = measure(SharedBaselines(database, bucket, TableCache(apart)), kept)
            print(json.dumps({"store": kind, **found}))


if __name__ == "__main__":
    main()
