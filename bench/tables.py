"""Layer tables where they lie: lookups in a large one, opening them again, and what an agent holds for many images.

python -m bench.tables [--entries 1000000] [--images 60] [--per-image 20000]

A lookup stands beside one in a dictionary of the same records, which is what a table would be without its format. The memory of a process
that has opened all images' baselines and looked into each stands beside that of the same process with none.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.watching import describe_run, memory_mb
from intact.adapters.keys.signing import generate_key, load_private_key
from intact.baseline.signing import KeySigner
from intact.baseline.table import load_table, reopen_table, seal_table
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.layer import Baseline, Form, Grade, Record, complete_parents
from intact.run.storage.keeping import open_store

LOOKUPS = 50_000
HOLD = """
import sys
from pathlib import Path
import intact.run.cli.agent
from intact.adapters.keys.signing import load_private_key
from intact.baseline.signing import KeySigner
from intact.run.storage.keeping import open_store
store = open_store(Path(sys.argv[1]), KeySigner(load_private_key(Path(sys.argv[2]))))
held = [store.get(str(key)) for key in store.keys()] if sys.argv[3] == "all" else []
for baseline in held:
    app = next(entry.path for entry in baseline.scan(b"/usr/lib"))
    found = all(baseline.find(app + b"/part%d/file%d.py" % (number // 40, number)) for number in range(0, int(sys.argv[4]), 100))
    assert found
    for layer in baseline.layers:
        layer.release()
print(len(held), flush=True)
sys.stdin.read()
"""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--entries", type=int, default=1_000_000)
    options.add_argument("--images", type=int, default=60)
    options.add_argument("--per-image", type=int, default=20_000)
    chosen = options.parse_args()
    print(describe_run())
    with tempfile.TemporaryDirectory(prefix="intact-bench-") as directory:
        _measure_lookups(chosen.entries)
        _measure_holding(Path(directory), chosen.images, chosen.per_image)


def make_records(entries: int, salt: bytes = b"") -> tuple[Record, ...]:
    """About `entries` records, forty files a directory, as a distribution's packages have them."""
    records = {b"/": Record(path=b"/", entry=Entry(path=b"/", kind=Kind.DIRECTORY, mode=0o755))}
    for number in range(entries):
        path = b"/usr/lib/app%s/part%d/file%d.py" % (salt, number // 40, number)
        digest = Digest("sha256", hashlib.sha256(path).digest())
        entry = Entry(path=path, kind=Kind.FILE, mode=0o644, size_bytes=number, digest=digest)
        records[path] = Record(path=path, entry=entry)
    return complete_parents(records)


def _measure_lookups(entries: int) -> None:
    records = make_records(entries)
    table = seal_table(Digest.of(b"bench"), Form.PLAIN, records)
    known = {record.path: record for record in records}
    wanted = random.Random(1).choices([record.path for record in records], k=LOOKUPS)
    absent = [path + b"x" for path in wanted]
    print(f"\n{len(table):,} entries, {len(table.data) / len(table):.0f} bytes an entry")
    for title, paths in (("there", wanted), ("not there", absent)):
        own, other = _time(partial(_look_up, table.find, paths)), _time(partial(_look_up, known.get, paths))
        print(f"lookup of a path that is {title}: {own / LOOKUPS * 1e6:.1f} us ({own / other:.0f}x a dictionary's, which holds them all)")
    known.clear()
    proving, opening = _time(lambda: load_table(table.data)), _time(lambda: reopen_table(table.data, table.root))
    print(f"proven whole in {proving:.2f} s, opened again in {opening:.2f} s ({opening / proving:.2f}x)")


def _measure_holding(directory: Path, images: int, entries: int) -> None:
    private, _ = generate_key(directory / "own")
    store = open_store(directory / "store", KeySigner(load_private_key(private)))
    for number in range(images):
        table = seal_table(Digest.of(b"layer %d" % number), Form.PLAIN, make_records(entries, b"%d" % number))
        store.put(Baseline(key=Digest.of(b"image %d" % number), layers=(table,), grade=Grade.VERIFIED, source="bench"))
    stored = sum(path.stat().st_size for path in (directory / "store").rglob("*") if path.is_file())
    sizes = list(_hold(directory / "store", private, entries))
    print(f"\n{images} images of {entries:,} entries: {stored / 1e6:.0f} MB on disk, {stored / images / entries:.0f} bytes an entry")
    print(f"an agent's process with none of them: {sizes[0]:.1f} MB RSS; with all opened and looked into: {sizes[1]:.1f} MB")


def _hold(store: Path, key: Path, entries: int) -> Iterator[float]:
    for which in ("none", "all"):
        command = [sys.executable, "-c", HOLD, str(store), str(key), which, str(entries)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            started = time.monotonic()
            process.stdout.readline()
            print(f"({which}: ready after {time.monotonic() - started:.1f} s)")
            yield memory_mb(process.pid)[0]
        finally:
            process.kill()
            process.communicate()


def _look_up(find: Callable[[bytes], Record | None], paths: Sequence[bytes]) -> None:
    for path in paths:
        find(path)


def _time(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
