"""Somebody runs images out of registries of their own that keep whoever reads them busy (threat model, I10)."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from intact.act.ports import ContainerState
from intact.model.digest import Digest
from intact.model.errors import TemporaryError
from intact.run.cluster import images
from intact.run.cluster.images import ImageReader
from tests.attack.hostile_registry import Handler
from tests.attack.test_hostile_registries import QUICK, Stage
from tests.attack.test_hostile_registries import stage as stage

DIGEST = Digest.of(b"image")


def test_a_layer_that_comes_just_fast_enough_for_ever_is_given_up(stage: Stage) -> None:
    digest, size, _ = stage.layers[0]

    @stage.trick(digest)
    def drip(handler: Handler) -> None:
        handler.start(200, size)
        for at in range(size):
            if handler.registry.stopping.wait(0.05):
                return
            handler.wfile.write(handler.registry.blobs[digest][at : at + 1])

    with pytest.raises(TemporaryError, match="takes longer than 1 s"):
        stage.read(patience=replace(QUICK, least_bytes_s=0, whole_s=1.0))


class Pods:
    """A cluster's pods, one for each name."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def all_pods(self) -> list[Any]:
        made = [ContainerState(name="web", image=f"{name}:1", image_id=f"{name}@{DIGEST}") for name in self.names]
        return [SimpleNamespace(node="node1", init_containers=(), containers=(one,)) for one in made]

    def platform_of(self, node: str) -> str:
        return "linux/amd64"


def test_who_fails_again_and_again_is_asked_behind_all_that_never_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is left alone for as long as it took: slow registries have no more of the reader's time than everybody else."""
    monkeypatch.setattr(images, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(images, "FIRST_RETRY_S", 0.0)
    monkeypatch.setattr(images, "LAST_RETRY_S", 0.0)
    pods, stop, asked = Pods("a.example/bad"), threading.Event(), list[str]()

    class Library:
        def compute(self, reference: str, platform: str) -> None:
            name = reference.partition("/")[0]
            asked.append(name)
            if name == "a.example":
                pods.names = ("a.example/bad", "b.example/good", "c.example/good")
                time.sleep(0.3)
            elif len(asked) == 3:
                stop.set()
            raise TemporaryError("too slow")

    reader = ImageReader(cast(Any, pods), cast(Any, Library()), cast(Any, None), learn=lambda key: None)
    reader.run(stop)
    assert asked == ["a.example", "b.example", "c.example"]
