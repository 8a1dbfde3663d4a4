"""Runtime configurations, as people write them and as attackers do."""

import json
from typing import Any

import pytest

from intact.adapters.runtime.spec import MAX_BYTES, MAX_MOUNTS, Spec, parse_spec
from intact.model.container import DeclaredMount, IdMap
from intact.model.errors import InputError


def parse(**document: Any) -> Spec:
    return parse_spec(json.dumps(document).encode())


def mounts(*destinations: Any) -> list[dict[str, Any]]:
    return [{"destination": destination} for destination in destinations]


def test_targets_are_absolute_normal_sorted_and_named_once() -> None:
    spec = parse(mounts=mounts("/proc", "/etc/hosts", "/data/", "//a/./b/../c", "relative/x", "/proc", "/../../up", "/é\n"))
    assert spec.targets == (b"/a/c", b"/data", b"/etc/hosts", b"/proc", b"/relative/x", b"/up", "/é\n".encode())


MAPPINGS = {
    "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    "gidMappings": [{"containerID": 0, "hostID": 200000, "size": 65536}],
}


def test_maps_belong_to_a_user_namespace() -> None:
    spec = parse(linux={"namespaces": [{"type": "pid"}, {"type": "user"}], **MAPPINGS})
    assert spec.uid_map == (IdMap(inside=0, outside=100000, count=65536),)
    assert spec.gid_map == (IdMap(inside=0, outside=200000, count=65536),)
    assert parse(linux={"namespaces": [{"type": "pid"}], **MAPPINGS}).uid_map == ()


def test_an_empty_configuration_is_one() -> None:
    assert parse() == parse(mounts=None, linux=None, annotations=None) == Spec()


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"[]",
        b"null" + b" " * MAX_BYTES,
        b"[" * 100_000,
        b'{"mounts": {}}',
        b'{"mounts": [1]}',
        b'{"mounts": [{}]}',
        b'{"mounts": [{"destination": "/a\\u0000b"}]}',
        b'{"mounts": [{"destination": 7}]}',
        b'{"linux": []}',
        b'{"linux": {"namespaces": [{"type": "user"}], "uidMappings": [{"containerID": -1, "hostID": 0, "size": 1}]}}',
        b'{"linux": {"namespaces": [{"type": "user"}], "uidMappings": [{"containerID": 0, "hostID": true, "size": 1}]}}',
        b'{"linux": {"namespaces": [{"type": "user"}], "uidMappings": [{"containerID": 0, "hostID": 4294967296, "size": 1}]}}',
        json.dumps({"mounts": mounts(*["/x"] * (MAX_MOUNTS + 1))}).encode(),
        json.dumps({"mounts": mounts("/" + "x" * 5000)}).encode(),
    ],
)
def test_what_is_no_configuration_is_refused(document: bytes) -> None:
    with pytest.raises(InputError):
        parse_spec(document)


def test_names_that_are_no_unicode_are_paths_all_the_same() -> None:
    assert parse_spec(b'{"mounts": [{"destination": "/\\ud800"}]}').targets == (b"/\xed\xa0\x80",)


def test_mounts_keep_their_order_and_say_what_they_are() -> None:
    spec = parse_spec(
        b'{"root": {"readonly": true}, "linux": {"maskedPaths": ["/proc/acpi"], "readonlyPaths": ["/proc/bus"]}, "mounts": ['
        b'{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},'
        b'{"destination": "/data", "source": "/srv/data", "options": ["rbind", "ro", 1]}]}'
    )
    assert spec.is_read_only
    assert spec.mounts == (
        DeclaredMount(target=b"/proc", kind="proc", source="proc", options=("nosuid",)),
        DeclaredMount(target=b"/data", kind="bind", source="/srv/data", options=("rbind", "ro")),
        DeclaredMount(target=b"/proc/acpi", kind="masked"),
        DeclaredMount(target=b"/proc/bus", kind="masked"),
    )
    assert not parse_spec(b'{"root": {"readonly": "yes"}}').is_read_only
