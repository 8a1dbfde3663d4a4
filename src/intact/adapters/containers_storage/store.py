"""One containers-storage store, opened for reading: its listings, an image's documents, a layer's directory and tar-split.

In: a directory and a driver. Out: records, verified against nothing, and handles. Takes no lock: listings are replaced as a whole, and what
changes under a reader does not prove.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self, TypeVar

from intact.ingest.gzip import CHUNK_BYTES
from intact.model.errors import InputError

from .beneath import Beneath, Missing
from .place import DRIVERS
from .records import MAX_LISTING_BYTES, ImageRecord, LayerRecord, document_file, parse_images, parse_layers

MAX_DOCUMENT_BYTES = 8 << 20
_Record = TypeVar("_Record", ImageRecord, LayerRecord)


class Store:
    def __init__(self, graphroot: Path, driver: str = "", runroot: Path | None = None) -> None:
        """Raises InputError (no such store, a driver that cannot be read) or PermanentError."""
        self.graphroot = graphroot
        self._runroot = runroot
        with ExitStack() as opened:
            self._root = opened.enter_context(Beneath.open(graphroot))
            self.driver = driver or self._find_driver()
            opened.pop_all()
        self._images: dict[str, ImageRecord] | None = None
        self._layers: dict[str, LayerRecord] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._root.close()

    @property
    def images(self) -> dict[str, ImageRecord]:
        if self._images is None:
            self._images = self._list(self._root, "images/images.json", parse_images)
        return self._images

    @property
    def layers(self) -> dict[str, LayerRecord]:
        """Those of `layers.json` and the ones that are gone at the next start of the machine (`volatile-layers.json`)."""
        if self._layers is None:
            volatile = "layers/volatile-layers.json"
            self._layers = self._list(self._root, volatile, parse_layers)
            if self._runroot is not None and self._runroot.is_dir():
                with Beneath.open(self._runroot) as runroot:
                    self._layers |= self._list(runroot, volatile, parse_layers)
            self._layers |= self._list(self._root, "layers/layers.json", parse_layers)
        return self._layers

    def read_document(self, image: str, name: str) -> bytes | None:
        """A document kept with the image `image`; None if it is not there."""
        try:
            return self._root.read(f"{self.driver}-images/{image}/{document_file(name)}", MAX_DOCUMENT_BYTES)
        except Missing:
            return None

    @contextmanager
    def open_tar_split(self, layer: LayerRecord) -> Iterator[Iterator[bytes]]:
        """The compressed tar-split. Raises InputError if the store has none."""
        try:
            with self._root.open_file(os.fsencode(f"{self.driver}-layers/{layer.id}.tar-split.gz")) as descriptor:
                yield iter(lambda: os.read(descriptor, CHUNK_BYTES), b"")
        except Missing:
            how = "it was pulled in parts (zstd:chunked)" if layer.toc_digest else "the store keeps no tar-split of it"
            raise InputError(f"layer {layer.id}: its tar cannot be rebuilt: {how}", code="NoTarSplit", hint=_ELSEWHERE) from None

    @contextmanager
    def open_layer(self, layer: LayerRecord) -> Iterator[Beneath]:
        """The directory the layer was unpacked into. Raises InputError where its files do not stand under their names."""
        if (layer.flags or {}).get("incomplete"):
            raise InputError(f"layer {layer.id} is incomplete: it is being pulled or removed", code="LayerIncomplete", hint="try again")
        try:
            if self.driver == "overlay":
                if self._root.has(f"overlay/{layer.id}/composefs-data"):
                    raise InputError(
                        f"layer {layer.id}: its tar cannot be rebuilt: composefs keeps files by digest", code="Composefs", hint=_ELSEWHERE
                    )
                opened = self._root.enter(f"overlay/{layer.id}/diff")
            else:
                opened = self._root.enter(f"vfs/dir/{layer.id}")
        except Missing:
            raise InputError(f"layer {layer.id} has no files in {self.graphroot}", code="StoreDamaged", hint=_ELSEWHERE) from None
        with opened:
            yield opened

    def _list(self, root: Beneath, name: str, parse: Callable[[bytes, str], dict[str, _Record]]) -> dict[str, _Record]:
        path = f"{self.driver}-{name}"
        try:
            return parse(root.read(path, MAX_LISTING_BYTES), f"{root.what}/{path}")
        except Missing:
            return {}

    def _find_driver(self) -> str:
        found = [driver for driver in DRIVERS if self._root.has(f"{driver}-images/images.json")]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(
                f"{self.graphroot} was written with {' and '.join(found)}", code="StorageDriver", hint=f"say which: [{found[0]}@PATH]"
            )
        raise InputError(
            f"{self.graphroot} holds no images of containers-storage that can be read",
            code="NoSuchStore",
            hint=f"drivers {' and '.join(DRIVERS)} can be read; [DRIVER@PATH] names another store",
        )


_ELSEWHERE = "docker:// reads the image from its registry"
