"""The pinned trust root: followed as it changes, never back. Numbers are those of `run.trust.PinnedTrust`."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intact.baseline.signing import PublicKey
from intact.baseline.trust import TrustedKey, TrustRoot
from intact.baseline.trust_document import encode_trust
from intact.model.errors import InputError
from intact.run.trust import PinnedTrust, TrustDirectory, open_trust

ONE, TWO = (PublicKey(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32).public_key()) for n in (1, 2))
FIRST = TrustRoot(version=1, keys=(TrustedKey(key=ONE),))
SECOND = FIRST.add(TrustedKey(key=TWO))


def write(path: Path, root: TrustRoot) -> None:
    """As a kubelet does: another file in its place."""
    path.with_suffix(".new").write_bytes(encode_trust(root))
    os.replace(path.with_suffix(".new"), path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write(tmp_path / "trust.json", FIRST)
    return tmp_path / "trust.json"


def pin(file: Path) -> PinnedTrust:
    return PinnedTrust(file, remembered=file.parent / "remembered")


def test_step_1_a_changed_file_is_read_again(file: Path) -> None:
    pinned = pin(file)
    assert pinned.read() == FIRST
    write(file, SECOND)
    assert pinned.read() == SECOND


@pytest.mark.parametrize("restarted", [False, True])
def test_step_2_and_3_an_older_root_is_refused_also_after_a_restart(file: Path, restarted: bool) -> None:
    pinned = pin(file)
    write(file, SECOND)
    assert pinned.read() == SECOND
    write(file, FIRST)
    assert (pin(file) if restarted else pinned).read() == SECOND


def test_step_2_a_revocation_stays(file: Path) -> None:
    write(file, FIRST.revoke(ONE.id, 0.0, "stolen"))
    pinned = pin(file)
    assert pinned.revoked() == {ONE.id}
    write(file, TrustRoot(version=9, keys=FIRST.keys))
    assert pinned.read().for_new(0.0).keys == ()
    assert pin(file).revoked() == {ONE.id}


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff" * 10])
def test_step_4_what_was_believed_holds_while_the_file_is_gone_or_damaged(file: Path, content: bytes | None) -> None:
    pinned = pin(file)
    pinned.read()
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert pinned.read() == FIRST
    assert pin(file).read() == FIRST
    write(file, SECOND)
    assert pinned.read() == SECOND


def test_without_anything_ever_nothing_is_believed(tmp_path: Path) -> None:
    pinned = pin(tmp_path / "none")
    with pytest.raises(InputError):
        pinned.read()
    assert pinned.revoked() == frozenset()


def test_a_single_key_has_no_history(tmp_path: Path) -> None:
    file = tmp_path / "K.pub"
    file.write_bytes(ONE.pem)
    pinned = pin(file)
    assert pinned.read() == TrustRoot.of(ONE)
    file.unlink()
    file.write_bytes(TWO.pem)
    assert pinned.read() == TrustRoot.of(TWO)


def test_a_directory_is_the_sum_of_its_files_and_one_that_is_damaged_trusts_nobody(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    directory.mkdir()
    trust = TrustDirectory(directory, remembered=tmp_path / "remembered")
    assert trust.read() == TrustRoot(version=0)
    (directory / "a.pub").write_bytes(ONE.pem)
    (directory / "damaged").write_bytes(b"?")
    (directory / "..data").write_bytes(b"what a kubelet leaves there")
    assert trust.read().for_new(0.0).keys == (ONE,)
    write(directory / "root.json", TrustRoot(version=1, keys=(TrustedKey(key=TWO),)).revoke(ONE.id, 0.0, "stolen"))
    assert trust.read().for_new(0.0).keys == (TWO,)
    (directory / "root.json").unlink()
    assert trust.read().for_new(0.0).keys == (ONE,)
    assert TrustDirectory(None, remembered=tmp_path / "r").read() == TrustRoot(version=0)


def test_a_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "K.pub").write_bytes(b"?")
    with pytest.raises(InputError, match=r"K\.pub"):
        open_trust([tmp_path / "K.pub"], 0.0)
