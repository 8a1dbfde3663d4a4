"""A backup as one file (docs/formats/backup.md): a tar of members, their sums, and a signed statement over the sums.

In: members, one after the other, and a signer; or a file, and whom to trust. Out: a file that appears whole or not at all; or the members
in a directory, all of them verified. A backup is never half believed:

1. It is a tar of regular files with the names of a backup, each once, none larger than it says; then come the sums, then the envelope, and
   nothing behind it.
2. The envelope is signed by a trusted key, and its statement is a backup's.
3. The sums are those that the statement names.
4. Each member has its sum, and there is no other.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from intact.adapters.layout.members import Sparing
from intact.adapters.store.atomic import PARTIAL, explain, sync_directory
from intact.baseline.signing import MAX_ENVELOPE_BYTES, PublicKey, Signer, decode_json, encode_json, open_envelope, seal_envelope
from intact.model.errors import InputError, TrustError

SUMS, ENVELOPE = "SHA256SUMS", "backup.dsse"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://intact.dev/backup/v1"
MAX_SUMS_BYTES = 256 << 20
_NAME = re.compile(r"(rows|state|tables)(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}){1,3}|baselines\.jsonl")
_CHUNK = 1 << 20
Advance = Callable[[str, int, int], None]


class ArchiveWriter:
    """Adds members to a file that is being written."""

    def __init__(self, file: IO[bytes], advance: Advance) -> None:
        self._file, self._advance = file, advance
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._sums: dict[str, str] = {}

    def add(self, name: str, size_bytes: int, source: IO[bytes]) -> None:
        """The next `size_bytes` of `source` as one member."""
        if not _NAME.fullmatch(name) or name in self._sums:
            raise InputError(f"{name!r} cannot be kept in a backup", code="BackupFormat", hint="rename it: letters, digits, `.`, `_`, `-`")
        reader = _Summing(source, lambda done: self._advance(name, done, size_bytes))
        self._tar.addfile(_describe(name, size_bytes), reader)
        self._sums[name] = reader.sum

    def add_bytes(self, name: str, data: bytes | memoryview) -> None:
        self.add(name, len(data), io.BytesIO(data))

    def seal(self, predicate: Mapping[str, object], signer: Signer) -> str:
        """Ends the archive; what identifies it: the digest of its sums."""
        sums = "".join(f"{self._sums[name]}  {name}\n" for name in sorted(self._sums)).encode()
        digest = hashlib.sha256(sums).hexdigest()
        subject = [{"digest": {"sha256": digest}, "name": SUMS}]
        statement = {"_type": STATEMENT_TYPE, "predicate": predicate, "predicateType": PREDICATE_TYPE, "subject": subject}
        envelope = seal_envelope(encode_json(statement), [signer])
        for name, data in ((SUMS, sums), (ENVELOPE, envelope)):
            self._tar.addfile(_describe(name, len(data)), io.BytesIO(data))
        self._tar.close()
        return f"sha256:{digest}"


@contextmanager
def create_archive(path: Path, advance: Advance) -> Iterator[ArchiveWriter]:
    """Readable by its owner alone. On any error, and when interrupted, what stood at `path` is untouched and nothing is left beside it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                yield ArchiveWriter(file, advance)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise explain(error, str(path)) from None


def extract_archive(
    path: Path, directory: Path, *, trusted: Sequence[PublicKey], advance: Advance
) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """Writes the members of the backup at `path` below `directory`, an empty one, and verifies all of it.

    Returns the statement's predicate, the digest of the sums and the members' names. Raises InputError (no backup, damaged) or TrustError
    (signed by nobody trusted, altered): then what lies in `directory` is nobody's word.
    """
    sums: dict[str, str] = {}
    special: dict[str, bytes] = {}
    try:
        total = path.stat().st_size
        with path.open("rb") as file, tarfile.open(fileobj=cast(IO[bytes], Sparing(file, str(path))), mode="r:") as tar:
            for member in tar:  # 1
                name = member.name
                if not member.isreg() or member.issparse() or member.size < 0 or name in sums or name in special or ENVELOPE in special:
                    raise InputError(f"{path} is no backup of ours: it has {name!r}", code="BackupFormat")
                source = tar.extractfile(member)
                assert source is not None, "a regular file"
                if name in (SUMS, ENVELOPE):
                    limit = MAX_SUMS_BYTES if name == SUMS else MAX_ENVELOPE_BYTES
                    if member.size > limit or (name == ENVELOPE and SUMS not in special):
                        raise InputError(f"{path} is no backup of ours", code="BackupFormat")
                    special[name] = b"".join(_read_chunks(source))
                    continue
                if not _NAME.fullmatch(name) or SUMS in special:
                    raise InputError(f"{path} is no backup of ours: it has {name!r}", code="BackupFormat")
                sums[name] = _write(directory / name, source)
                advance(name, file.tell(), total)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is no backup, or is damaged ({error})", code="BackupFormat", hint="copy it again") from None
    except OSError as error:
        raise explain(error, str(error.filename or directory)) from None
    if ENVELOPE not in special:
        raise InputError(f"{path} is cut off, or no backup", code="BackupFormat", hint="copy it again")
    try:
        opened = open_envelope(special[ENVELOPE], trusted=trusted)  # 2
    except TrustError as error:
        raise TrustError(f"{path}: {error}", code=error.code) from None
    predicate, digest = _read_statement(opened.payload)
    if hashlib.sha256(special[SUMS]).hexdigest() != digest:  # 3
        raise TrustError("the sums of the backup are not those that were signed", code="BackupAltered", hint="use another copy")
    expected = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
    if expected != special[SUMS]:  # 4
        raise TrustError("the backup does not hold what was signed", code="BackupAltered", hint="use another copy")
    return predicate, f"sha256:{digest}", tuple(sorted(sums))


def _read_statement(payload: bytes) -> tuple[dict[str, Any], str]:
    statement = decode_json(payload, "backup statement", MAX_ENVELOPE_BYTES)
    if statement.get("_type") != STATEMENT_TYPE or statement.get("predicateType") != PREDICATE_TYPE:
        raise InputError("the signed statement is not about a backup", code="BackupFormat")
    try:
        (subject,) = statement["subject"]
        digest = subject["digest"]["sha256"]
        if subject["name"] != SUMS or not isinstance(digest, str) or not isinstance(statement["predicate"], dict):
            raise TypeError("not the sums")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the backup's statement is malformed: {error}", code="BackupFormat") from None
    return statement["predicate"], digest


def _write(path: Path, source: IO[bytes]) -> str:
    digest = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "wb") as file:
        for chunk in _read_chunks(source):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _read_chunks(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK):
        yield chunk


def _describe(name: str, size_bytes: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, 0o600
    return info


class _Summing:
    """What is read through it is summed and counted."""

    def __init__(self, source: IO[bytes], count: Callable[[int], None]) -> None:
        self._source, self._count = source, count
        self._digest, self._done = hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._digest.update(data)
        self._done += len(data)
        self._count(self._done)
        return data

    @property
    def sum(self) -> str:
        return self._digest.hexdigest()


def read_lines(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        yield from file
