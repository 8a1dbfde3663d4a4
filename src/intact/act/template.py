"""Pod templates: their images pinned by digest, and what else they need to exist. Pure.

In: a PodTemplateSpec as JSON. Out: a new one, or names. Never changes anything in it but image names.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

from .ports import Reference, Template

HASH_LABEL = "pod-template-hash"


def without_hash(template: Template) -> Template:
    """`template` as the Deployment had it: without the label its controller adds to the ReplicaSet's."""
    labels = _map(_map(template.get("metadata")).get("labels"))
    if HASH_LABEL not in labels:
        return template
    cleaned: dict[str, Any] = copy.deepcopy(dict(template))
    cleaned["metadata"]["labels"].pop(HASH_LABEL)
    if not cleaned["metadata"]["labels"]:
        del cleaned["metadata"]["labels"]
    return cleaned


def pin_images(template: Template, ran: Iterable[tuple[str, str]]) -> tuple[Template, str]:
    """`template` with each image as `repo@sha256:…`: the digest is the one its container really ran (`ran`: its name, `repo@sha256:…`), the
    repository stays the template's own, since its pull secrets and policies are for that one.

    The second value is empty, or says which image has no known digest: then the template must not be used.
    """
    seen: dict[str, set[str]] = {}
    for ran_by, ran_image in ran:
        digest = ran_image.rpartition("@")[2] if "@" in ran_image else ""
        if digest:
            seen.setdefault(ran_by, set()).add(digest)
    pinned: dict[str, Any] = copy.deepcopy(dict(template))
    for container in _containers(pinned):
        image = str(container.get("image", ""))
        name = str(container.get("name", ""))
        if "@" in image:
            continue
        digests = seen.get(name, set())
        if not digests:
            return template, f"nobody knows which digest {image} of container {name} was, and the tag may have moved"
        if len(digests) > 1:
            return template, f"{image} of container {name} was {len(digests)} different images ({', '.join(sorted(digests))})"
        container["image"] = f"{_repository(image)}@{digests.pop()}"
    return pinned, ""


def references_of(template: Template) -> tuple[Reference, ...]:
    """The ConfigMaps and Secrets without which a pod of `template` would not start; optional ones are not among them, nor image pull
    secrets (a pod starts without them, if its image can be had)."""
    found: set[Reference] = set()
    spec = _map(template.get("spec"))
    for volume in _maps(spec.get("volumes")):
        found.update(_in_volume(volume))
        for source in _maps(_map(volume.get("projected")).get("sources")):
            found.update(_named("ConfigMap", source.get("configMap"), "name"))
            found.update(_named("Secret", source.get("secret"), "name"))
    for container in _containers(template):
        for variable in _maps(container.get("env")):
            value = _map(variable.get("valueFrom"))
            found.update(_named("ConfigMap", value.get("configMapKeyRef"), "name"))
            found.update(_named("Secret", value.get("secretKeyRef"), "name"))
        for source in _maps(container.get("envFrom")):
            found.update(_named("ConfigMap", source.get("configMapRef"), "name"))
            found.update(_named("Secret", source.get("secretRef"), "name"))
    return tuple(sorted(found))


def _in_volume(volume: dict[str, Any]) -> Iterator[Reference]:
    yield from _named("ConfigMap", volume.get("configMap"), "name")
    yield from _named("Secret", volume.get("secret"), "secretName")


def _named(kind: str, source: object, key: str) -> Iterator[Reference]:
    given = _map(source)
    if given.get(key) and not given.get("optional"):
        yield Reference(kind, str(given[key]))


def _containers(template: Template) -> Iterator[dict[str, Any]]:
    spec = _map(template.get("spec"))
    yield from _maps(spec.get("initContainers"))
    yield from _maps(spec.get("containers"))


def _repository(image: str) -> str:
    """`registry:5000/a/b:1` → `registry:5000/a/b`: a colon after the last slash begins the tag (distribution/reference, grammar)."""
    path, slash, last = image.rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}"


def _map(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _maps(value: object) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []
