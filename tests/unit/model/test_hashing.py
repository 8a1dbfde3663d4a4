"""Several digests come out of one pass over the bytes, each as its own algorithm's tool prints it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from intact.model.belt import BeltHash
from intact.model.digest import SIZES, WEAK, Algorithms, Digest
from intact.model.errors import InputError
from intact.model.hashing import choose_hasher, split_values


def hash_alone(name: str, data: bytes) -> bytes:
    match name:
        case "belt-hash":
            return BeltHash(data).digest()
        case "blake3":
            return blake3(data).digest()
        case _:
            return hashlib.new(name, data).digest()


@given(st.lists(st.binary(max_size=200), max_size=4), st.lists(st.sampled_from(sorted(SIZES)), max_size=8))
def test_one_pass_gives_what_each_algorithm_alone_gives(parts: list[bytes], names: list[str]) -> None:
    algorithms = Algorithms.choose(names)
    hasher = choose_hasher(algorithms)()
    for part in parts:
        hasher.update(part)
    data = b"".join(parts)
    assert hasher.digest() == choose_hasher(algorithms)(data).digest()
    deciding, further = split_values(algorithms, hasher.digest())
    assert [*map(str, (deciding, *further))] == [f"{name}:{hash_alone(name, data).hex()}" for name in algorithms.names]


@pytest.mark.parametrize("name", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
def test_a_value_is_the_one_that_coreutils_prints(name: str) -> None:
    program = shutil.which(f"{name}sum")
    assert program is not None
    printed = subprocess.run([program], input=b"intact\n", capture_output=True, check=True).stdout
    algorithms = Algorithms.choose([name])
    found = split_values(algorithms, choose_hasher(algorithms)(b"intact\n").digest())
    assert Digest(name, bytes.fromhex(printed.split()[0].decode())) in (found[0], *found[1])


@given(st.lists(st.sampled_from(sorted(SIZES)), max_size=8))
def test_the_first_strong_algorithm_decides_and_a_weak_one_never(names: list[str]) -> None:
    algorithms = Algorithms.choose(names)
    strong = [name for name in names if name not in WEAK]
    assert algorithms.deciding == (strong[0] if strong else "sha256")
    assert set(algorithms.names) == {*names, algorithms.deciding}
    assert list(algorithms.further) == sorted(set(algorithms.further) - {algorithms.deciding})


def test_an_unknown_algorithm_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="crc32") as refused:
        Algorithms.choose(["sha256", "crc32"])
    assert "belt-hash" in str(refused.value.hint)


def test_the_names_of_blobs_are_digests_that_nobody_can_forge() -> None:
    assert Digest.parse(f"sha512:{'0' * 128}").algorithm == "sha512"
    for name in ("md5", "sha1", "blake3", "belt-hash"):
        text = f"{name}:{'0' * 2 * SIZES[name]}"
        assert str(Digest.parse(text, SIZES)) == text
        with pytest.raises(InputError):
            Digest.parse(text)
