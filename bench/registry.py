"""Baselines from a registry on this machine: `python -m bench.registry [--images N] [--rounds N]`.

1. One image of many layers, end to end: `intact baseline build docker://…`, one layer at a time and three, beside `skopeo copy` of the same
   image to an OCI layout. skopeo writes the compressed blobs and hashes each twice; the build also unpacks them and hashes every file.
2. Many images that share layers, through the controller's own library into its store: time, bytes fetched, bytes stored.

Everything is made anew, and nothing is left behind.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from intact.adapters.registry import client as registry_client
from intact.adapters.registry.access import Endpoint, RegistryAccess
from intact.adapters.registry.client import RepositoryClient
from intact.adapters.registry.upload import push_blob, push_manifest
from intact.model.digest import Digest
from intact.run.cluster.baselines import ClusterBaselines
from intact.run.storage.keeping import open_own_key, open_store
from lab import layers
from lab.oci import architecture
from lab.registries import Registry

OCI = "application/vnd.oci.image."
REPOSITORY = "bench/app"


class Images:
    """Pushes images made of given layers."""

    def __init__(self, registry: Registry) -> None:
        self.access = RegistryAccess(plain_http=frozenset({registry.host}))
        self.client = RepositoryClient(self.access, Endpoint(host=registry.host, repository=REPOSITORY), actions="pull,push")

    def add_layer(self, chance: random.Random, files: int, size: int) -> tuple[dict[str, Any], str]:
        """A layer of `files` files of about `size` bytes that compress by half: its descriptor and diff_id."""
        top = f"/usr/lib/{chance.randrange(1 << 40):x}"
        entries = [layers.directory(b"/usr"), layers.directory(b"/usr/lib"), layers.directory(top.encode())]
        entries += [layers.file(f"{top}/file{number}".encode(), chance.randbytes(size // 2).hex().encode()) for number in range(files)]
        tar = layers.build_tar(entries)
        blob = gzip.compress(tar, 1, mtime=0)
        digest = self._blob(blob)
        return {"mediaType": OCI + "layer.v1.tar+gzip", "digest": digest, "size": len(blob)}, "sha256:" + hashlib.sha256(tar).hexdigest()

    def add_image(self, stack: list[tuple[dict[str, Any], str]], tag: str) -> str:
        """The manifest's digest."""
        config = {
            "architecture": architecture(), "os": "linux", "config": {"Labels": {"tag": tag}},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in stack]},
        }  # fmt: skip
        data = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "layers": [layer for layer, _ in stack],
            "config": {"mediaType": OCI + "config.v1+json", "digest": self._blob(data), "size": len(data)},
        }  # fmt: skip
        encoded = json.dumps(manifest).encode()
        push_manifest(self.client, tag, OCI + "manifest.v1+json", encoded)
        return str(Digest.of(encoded))

    def _blob(self, data: bytes) -> str:
        digest = Digest.of(data)
        push_blob(self.client, digest, memoryview(data), lambda done, total: None)
        return str(digest)


def run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure(contenders: dict[str, Callable[[], None]], rounds: int) -> dict[str, tuple[float, float]]:
    """Medians of wall and CPU seconds, the contenders taking turns."""
    walls: dict[str, list[float]] = {name: [] for name in contenders}
    cpus: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            before, started = os.times(), time.perf_counter()
            contender()
            walls[name].append(time.perf_counter() - started)
            after = os.times()
            cpus[name].append(after.children_user + after.children_system - before.children_user - before.children_system)
    return {name: (statistics.median(walls[name]), statistics.median(cpus[name])) for name in contenders}


def measure_one(registry: Registry, images: Images, work: Path, rounds: int) -> None:
    chance = random.Random(1)
    stack = [images.add_layer(chance, 400, 16 << 10) for _ in range(20)]
    images.add_image(stack, "one")
    name = f"docker://{registry.host}/{REPOSITORY}:one"
    size = sum(layer["size"] for layer, _ in stack)

    def build(concurrency: int) -> Callable[[], None]:
        options = ("--plain-http", registry.host, "--concurrency", str(concurrency))
        return lambda: run(sys.executable, "-m", "intact", "baseline", "build", name, "-o", work / "out", *options)

    def copy() -> None:
        target = work / "layout"
        run("skopeo", "copy", "--src-tls-verify=false", name, f"oci:{target}:one")
        run("rm", "-r", target)

    results = measure({"intact, 3 layers at once": build(3), "intact, 1 layer at a time": build(1), "skopeo copy to oci:": copy}, rounds)
    print(f"one image: {len(stack)} layers, {size / 1e6:.0f} MB compressed, {400 * len(stack)} files; median of {rounds}")
    print(f"{'':<28}{'wall':>9}{'CPU':>9}{'layers/s':>10}{'MB/s':>8}   wall and CPU over skopeo's")
    peer = results["skopeo copy to oci:"]
    for contender, (wall, cpu) in results.items():
        rates = f"{len(stack) / wall:>10.1f}{size / 1e6 / wall:>8.1f}"
        print(f"{contender:<28}{wall:>8.2f}s{cpu:>8.2f}s{rates}   {wall / peer[0]:>6.2f}  {cpu / peer[1]:>6.2f}")


def measure_many(registry: Registry, images: Images, work: Path, count: int) -> None:
    chance = random.Random(2)
    bases = [[images.add_layer(chance, 200, 8 << 10) for _ in range(4)] for _ in range(10)]
    middles = [images.add_layer(chance, 50, 8 << 10) for _ in range(50)]
    references, whole = [], 0
    for number in range(count):
        stack = [*bases[number % len(bases)], middles[number % len(middles)], images.add_layer(chance, 5, 4 << 10)]
        whole += sum(layer["size"] for layer, _ in stack)
        references.append(f"{registry.host}/{REPOSITORY}@{images.add_image(stack, f'many{number}')}")
    fetched = [0]
    original = registry_client.iterate_paced

    def counted(*arguments: Any) -> Iterator[bytes]:
        for chunk in original(*arguments):
            fetched[0] += len(chunk)
            yield chunk

    registry_client.iterate_paced = counted  # type: ignore[assignment]
    try:
        signer = open_own_key(work / "own")
        library = ClusterBaselines(open_store(work / "store", signer), signer, access=images.access)
        started, before = time.perf_counter(), time.process_time()
        for reference in references:
            library.compute(reference)
        seconds, cpu = time.perf_counter() - started, time.process_time() - before
    finally:
        registry_client.iterate_paced = original
    stored = sum(path.stat().st_size for path in (work / "store").rglob("*") if path.is_file())
    print(f"\n{count} images of 6 layers, 10 bases of 4 layers, 50 middle layers, one of each image's own")
    print(f"{'time':<28}{seconds:>10.1f} s   {count / seconds:.1f} images/s, {cpu / count * 1e3:.0f} ms of CPU an image")
    print(f"{'all layers of all images':<28}{whole / 1e6:>10.1f} MB")
    print(f"{'fetched, manifests included':<28}{fetched[0] / 1e6:>10.1f} MB  {fetched[0] / whole:.1%} of it")
    print(f"{'stored':<28}{stored / 1e6:>10.1f} MB  {stored / count / 1e3:.1f} kB an image")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, docker-registry on this machine")
    with tempfile.TemporaryDirectory(prefix="intact-bench-") as name, Registry(Path(name) / "registry") as registry:
        images = Images(registry)
        measure_one(registry, images, Path(name), arguments.rounds)
        measure_many(registry, images, Path(name), arguments.images)


if __name__ == "__main__":
    main()
