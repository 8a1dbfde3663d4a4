"""An image, from any source of blobs → a Baseline of grade VERIFIED: every byte proven against the digest chain.

1. The root document is read, at most `Limits.document_bytes` long; its size and digest are those of its descriptor.
2. Of an index, the one manifest of the wanted platform is taken; an index may name an index once.
3. The manifest's size and digest are verified, then it is parsed.
4. The configuration's size and digest are verified; it lists as many diff_ids as the manifest lists layers, and is of the wanted platform.
5. Each layer blob's size and digest are verified.
6. Each layer's tar stream has the digest that the configuration's diff_ids state, to its last byte.
7. Only then its records count.

A layer whose table is known by diff_id, with the wanted algorithms, is not read again: its records were proven then. Never believes the
source, never writes anything.
"""

from __future__ import annotations

import hashlib
import platform as host
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.encoding import seal
from intact.model.errors import InputError, TrustError
from intact.model.layer import Baseline, Form, Grade, LayerTable, Record
from intact.model.platforms import fits

from .ahead import run_ahead
from .compression import check_layer_type, decompress, is_foreign
from .documents import CONFIG_TYPES, INDEX_TYPES, MANIFEST_TYPES, Choice, Config, Manifest, parse_config, parse_index, parse_manifest
from .layer import apply_members
from .limits import Limits
from .ports import SYNTHETIC_MANIFEST, BlobSource, Descriptor
from .prefetch import Prefetched
from .tar import Member, read_members

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "i686": "386"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far ingest is: `layer` counts from 1; bytes are those of the blobs, `bytes_total` over all layers (0 if a source does not say);
    `entries` have been read so far. `known`: this layer's table was there already."""

    layer: int
    layers: int
    bytes_done: int
    bytes_total: int
    entries: int
    known: bool = False


class Sealer(Protocol):
    """Makes a table of a layer's sorted records."""

    def __call__(self, diff_id: Digest, form: Form, records: list[Record], /) -> LayerTable: ...


def host_platform() -> str:
    """`os/architecture[/variant]` of this machine, in OCI's names."""
    machine = host.machine()
    return f"linux/{_ARCHITECTURES.get(machine, machine)}"


def ingest(
    source: BlobSource,
    *,
    platform: str | None = None,
    image: Resolved | None = None,
    limits: Limits | None = None,
    algorithms: Algorithms = SHA256,
    progress: Callable[[Progress], None] = lambda _: None,
    known_layers: Callable[[Digest], LayerTable | None] = lambda _: None,
    seal: Sealer = seal,
    parallel: int = 1,
) -> Baseline:
    """Reads and verifies the image of `source`.

    `platform` None: this machine's where the image offers several, whatever it is where it offers one. `image`: its documents, where they
    were read from this source already. `algorithms`: by what its files are to be known. `parallel`: layers fetched at once, of a source
    that several threads may read. Raises InputError (damaged, refused, no such platform), TrustError (a digest is wrong), TemporaryError
    (the source is not reachable).
    """
    limits = limits or Limits()
    image = image or resolve(source, platform=platform, limits=limits)
    manifest, config = image.manifest, image.config
    for layer in manifest.layers:
        check_layer_type(layer.media_type)
    pairs = list(zip(manifest.layers, config.diff_ids, strict=True))
    meter = _Meter(manifest, progress)
    tables: dict[int, LayerTable] = {}
    for index, (_, diff_id) in enumerate(pairs):
        known = known_layers(diff_id)
        if known is not None and stands(known, diff_id, base=index == 0, algorithms=algorithms):
            tables[index] = known
            meter.finish(index, known=True)

    missing = [index for index in range(len(pairs)) if index not in tables]
    with Prefetched(source, [pairs[index][0] for index in missing], parallel) if parallel > 1 else nullcontext(source) as blobs:
        for index in missing:
            layer, diff_id = pairs[index]

            def report(read_bytes: int, index: int = index) -> None:
                meter.report(index, read_bytes)

            base = index == 0
            tables[index] = _read_layer(
                blobs, layer, diff_id, base=base, limits=limits, algorithms=algorithms, report=report, count=meter.count, seal=seal
            )
            meter.finish(index)
    return Baseline(
        key=manifest.config.digest,
        layers=tuple(tables[index] for index in range(len(pairs))),
        grade=Grade.VERIFIED,
        source=source.name,
        aliases=image.aliases,
        platform=config.platform,
    )


class _Meter:
    """Adds up what has been read of all layers."""

    def __init__(self, manifest: Manifest, progress: Callable[[Progress], None]) -> None:
        self._sizes = [layer.size_bytes or 0 for layer in manifest.layers]
        self._read = [0] * len(self._sizes)
        self._entries = 0
        self._progress = progress

    def count(self, members: Iterator[Member]) -> Iterator[Member]:
        for member in members:
            self._entries += 1
            yield member

    def report(self, index: int, read_bytes: int, *, known: bool = False) -> None:
        self._read[index] = read_bytes
        layers, total = len(self._sizes), sum(self._sizes)
        self._progress(
            Progress(layer=index + 1, layers=layers, bytes_done=sum(self._read), bytes_total=total, entries=self._entries, known=known)
        )

    def finish(self, index: int, *, known: bool = False) -> None:
        self.report(index, self._sizes[index], known=known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """An image's documents, verified; its layers have not been read. `descriptor`: its manifest."""

    descriptor: Descriptor
    manifest: Manifest
    config: Config
    aliases: tuple[str, ...]


def resolve(source: BlobSource, *, platform: str | None = None, limits: Limits) -> Resolved:
    """Steps 1 to 4. Raises as `ingest`."""
    root = source.root()
    digests: list[str] = []
    descriptor, data = root, read_document(source, root, limits)  # 1
    for _ in range(2):  # 2
        if descriptor.media_type not in INDEX_TYPES:
            break
        digests.append(str(descriptor.digest))
        descriptor = _choose(parse_index(data, limits), platform, source.name)
        data = read_document(source, descriptor, limits)  # 3
    if descriptor.media_type not in MANIFEST_TYPES:
        raise InputError(f"{source.name}: unknown manifest type {descriptor.media_type[:200]!r}", code="MediaType", hint=_SCHEMA_HINT)
    if descriptor.media_type != SYNTHETIC_MANIFEST:
        digests.append(str(descriptor.digest))
    manifest = parse_manifest(data, limits)
    if manifest.config.media_type not in CONFIG_TYPES:
        what = f"{source.name}: the configuration is of type {manifest.config.media_type[:200]!r}"
        raise InputError(what, code="MediaType", hint="it is an artifact of that kind, not an image")
    config = parse_config(read_document(source, manifest.config, limits))  # 4
    if len(config.diff_ids) != len(manifest.layers):
        raise InputError(f"{source.name}: {len(manifest.layers)} layers, but {len(config.diff_ids)} diff_ids", code="Config")
    if platform is not None and not fits(config.platform, platform):
        raise InputError(f"{source.name} is for {config.platform or 'an unnamed platform'}, not {platform}", code="Platform")
    return Resolved(descriptor=descriptor, manifest=manifest, config=config, aliases=_name_all(source.aliases(), digests))


def _name_all(names: Sequence[str], digests: Sequence[str]) -> tuple[str, ...]:
    """Every name an image goes by: those its source knows, the digests on the way to its manifest, and each repository with each of them,
    as runtimes write it (`repo@sha256:…`)."""
    repositories = {_repository(name) for name in names} - {""}
    return tuple(dict.fromkeys((*names, *digests, *(f"{one}@{digest}" for one in sorted(repositories) for digest in digests))))


def _repository(name: str) -> str:
    """`host/repo` of `host/repo:tag` or `host/repo@digest`; empty where the name is a digest alone."""
    try:
        Digest.parse(name)
    except InputError:
        head, slash, last = name.partition("@")[0].rpartition("/")
        return head + slash + last.partition(":")[0]
    return ""


_SCHEMA_HINT = "OCI and Docker schema 2 manifests can be read"


def stands(table: LayerTable, diff_id: Digest, *, base: bool, algorithms: Algorithms = SHA256) -> bool:
    """Whether a known table says what this layer says at its place in this image, by the wanted algorithms."""
    if table.algorithms not in (None, algorithms):
        return False
    return table.diff_id == diff_id and (table.form is Form.PLAIN or table.form is (Form.BASE if base else Form.STACKED))


def read_document(source: BlobSource, descriptor: Descriptor, limits: Limits) -> bytes:
    """A verified document (steps 1, 3 and 4)."""
    if (descriptor.size_bytes or 0) > limits.document_bytes:
        raise InputError(f"{source.name}: {descriptor.digest} has {descriptor.size_bytes} bytes, more than {limits.document_bytes}")
    parts, read = [], 0
    with source.open(descriptor) as chunks:
        for chunk in chunks:
            read += len(chunk)
            if read > limits.document_bytes:
                raise InputError(f"{source.name}: {descriptor.digest} is longer than {limits.document_bytes} bytes", code="TooLarge")
            parts.append(chunk)
    data = b"".join(parts)
    _check_blob(source, descriptor, len(data), Digest.of(data, descriptor.digest.algorithm))
    return data


def _check_blob(source: BlobSource, descriptor: Descriptor, size: int, digest: Digest) -> None:
    if descriptor.size_bytes is not None and size != descriptor.size_bytes:
        raise TrustError(f"{source.name}: blob {descriptor.digest} has {size} bytes, not {descriptor.size_bytes}", code="BlobSize")
    if digest != descriptor.digest:
        raise TrustError(f"{source.name}: blob {descriptor.digest} has the digest {digest}", code="BlobDigest", hint="altered or damaged")


def _choose(choices: tuple[Choice, ...], platform: str | None, name: str) -> Descriptor:
    images = [choice for choice in choices if choice.descriptor.media_type in MANIFEST_TYPES | INDEX_TYPES]
    offered = [choice for choice in images if not choice.platform.startswith("unknown/")]
    if platform is None and len(offered) == 1:
        return offered[0].descriptor
    wanted = platform or host_platform()
    exact = [choice for choice in offered if choice.platform == wanted]
    fitting = exact or [choice for choice in offered if fits(choice.platform, wanted)]
    if fitting:
        return fitting[0].descriptor
    names = ", ".join(sorted({choice.platform or "unnamed" for choice in offered})[:20]) or "none"
    raise InputError(f"{name} has no image for {wanted}", code="Platform", hint=f"it has: {names}")


def _read_layer(
    source: BlobSource,
    layer: Descriptor,
    diff_id: Digest,
    *,
    base: bool,
    limits: Limits,
    algorithms: Algorithms,
    report: Callable[[int], None],
    count: Callable[[Iterator[Member]], Iterator[Member]],
    seal: Sealer,
) -> LayerTable:
    name = str(layer.digest)
    try:
        opened = source.open(layer)
        with opened as chunks:
            stream = _Verified(source, layer, diff_id, chunks, limits, report)
            ahead = run_ahead(stream.verify())
            try:
                members = count(read_members(ahead, limits=limits, layer=name, algorithms=algorithms))
                form, records = apply_members(members, base=base, limits=limits, layer=name, algorithms=algorithms)
            except InputError:
                ahead.close()  # type: ignore[attr-defined]
                stream.check_rest()
                raise
            finally:
                ahead.close()  # type: ignore[attr-defined]
    except InputError as error:
        if is_foreign(layer.media_type) and error.code == "BlobUnknown":
            raise InputError(f"{source.name} lacks the non-distributable layer {name}", code="ForeignLayer", hint=_FOREIGN_HINT) from None
        raise
    if not stream.is_verified:
        raise TrustError(f"layer {name} was not read to its end", code="LayerIncomplete")
    return seal(diff_id, form, records)  # 7


_FOREIGN_HINT = "build the baseline where its bytes are: from the runtime's store, or an archive"


class _Verified:
    """A layer's tar stream whose end is reached only if blob and stream are what the chain says (steps 5 and 6)."""

    def __init__(
        self, source: BlobSource, layer: Descriptor, diff_id: Digest, chunks: Iterator[bytes], limits: Limits, report: Callable[[int], None]
    ) -> None:
        self._source, self._layer, self._diff_id = source, layer, diff_id
        self._chunks, self._limits, self._report = chunks, limits, report
        self.is_verified = self._has_failed = False
        self._read = 0
        self._blob = hashlib.new(layer.digest.algorithm)
        self._hashed = self._hash_chunks()

    def verify(self) -> Iterator[bytes]:
        layer = self._layer
        tar = hashlib.new(self._diff_id.algorithm)
        same = layer.digest == self._diff_id
        for data in decompress(self._hashed, layer.media_type, limits=self._limits, layer=str(layer.digest)):
            if not same:
                tar.update(data)
            yield data
        self._check_blob()  # 5
        found = Digest(self._diff_id.algorithm, tar.digest()) if not same else layer.digest
        if found != self._diff_id:  # 6
            raise TrustError(f"layer {layer.digest} unpacks to {found}, not to its diff_id {self._diff_id}", code="DiffId")
        self.is_verified = True

    def check_rest(self) -> None:
        """After an error in what the blob holds: damaged on the way, or by whoever made it? Its digest tells; raises TrustError. Where the
        source itself failed, that is the error."""
        for _ in self._hashed:
            pass
        if not self._has_failed:
            self._check_blob()

    def _hash_chunks(self) -> Iterator[bytes]:
        layer = self._layer
        for chunk in self._take_chunks():
            self._read += len(chunk)
            if layer.size_bytes is not None and self._read > layer.size_bytes:
                raise TrustError(f"{self._source.name}: blob {layer.digest} is longer than {layer.size_bytes} bytes", code="BlobSize")
            self._blob.update(chunk)
            self._report(self._read)
            yield chunk

    def _take_chunks(self) -> Iterator[bytes]:
        try:
            yield from self._chunks
        except InputError:
            self._has_failed = True
            raise

    def _check_blob(self) -> None:
        layer = self._layer
        _check_blob(self._source, layer, self._read, Digest(layer.digest.algorithm, self._blob.digest()))
