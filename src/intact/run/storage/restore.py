"""A backup becomes what a process remembers, in the same kind of store or in another.

1. The target is nobody's now, and has nothing, or is to be replaced. 2. The backup is verified whole (`archive`), beside what is there.
3. Its rows become a database there, brought up to date. 4. The audit log in it is verified, and a leaf says that it was restored. 5. Only
then the target is touched: the rows in one transaction, which ends the term of whoever acts there, or the files by renaming. A restore that
was killed while it renamed is undone by the next one; no process starts in between (`memory.open_state`).

What the log had after the backup was taken is gone from it, and whoever kept a later checkpoint sees that: the leaf is the honest word on
it, never a way to hide it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection

from intact.adapters.keys.signing import load_ed25519_key
from intact.adapters.store.atomic import explain, sync_directory
from intact.adapters.store.baselines import BaselineDirectory
from intact.adapters.store.cached import map_file
from intact.adapters.store.database import FILE_NAME, Database
from intact.adapters.store.inbox import SqlTerms
from intact.adapters.store.leaves import SqlLeafStore
from intact.adapters.store.rows import PORTABLE, copy_rows, import_rows, is_empty, make_database_at
from intact.audit.export import export_log
from intact.audit.log import AuditLog
from intact.audit.note import NoteKey
from intact.audit.steps import record_restore
from intact.audit.verify import Verified, verify_export
from intact.baseline.ports import BaselineFiles
from intact.baseline.signing import PublicKey
from intact.model.errors import InputError, TemporaryError

from .archive import Advance, extract_archive, read_lines
from .backup import INDEX, decode_stored
from .memory import AUDIT_KEY, AUDIT_ORIGIN, REPLACED, RESTORING, RETIRED_AUDIT_KEYS, read_audit_key, read_retired_keys
from .open import BASELINES

STAGED, MOVED, DONE = "new", "moved", ".replaced"
KEPT = frozenset({"lock", "lost+found", RESTORING, DONE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """`leaves`: of the log before it was continued. `continued`: whether its key is there, and a leaf says that it was restored."""

    digest: str
    created_at: str
    leaves: int
    root: bytes
    baselines: int
    continued: bool


@contextmanager
def claim(directory: Path, *, replace: bool) -> Iterator[None]:
    """Step 1 for a state directory: it is ours until the block ends. Raises TemporaryError if a process uses it, InputError if something is
    there and is not to be replaced."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise explain(error, str(directory)) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TemporaryError(f"a process uses {directory}", code="StateInUse", hint="stop it first") from None
        there = sorted(path.name for path in directory.iterdir() if path.name not in KEPT)
        if (there or (directory / RESTORING).exists()) and not replace:
            raise InputError(
                f"{directory} is not empty ({', '.join(there[:3]) or RESTORING})", code="NotEmpty", hint="--replace replaces it"
            )
        yield
    finally:
        os.close(lock)


def restore_backup(
    path: Path,
    *,
    state_dir: Path,
    database: Database | None,
    files: BaselineFiles | None,
    trusted: Sequence[PublicKey],
    replace: bool,
    now: float,
    advance: Advance,
) -> Restored:
    """`database`, `files`: where rows and baselines go, if not into `state_dir`, which has been claimed. Raises IntactError; what was there
    is untouched then, except that baselines may have been added to `files`."""
    if database is not None and not replace and not is_empty(database):
        raise InputError(f"{database.name} is not empty", code="NotEmpty", hint="--replace replaces what it remembers")  # 1
    work = state_dir / RESTORING
    _recover(state_dir, work)
    staged = work / STAGED
    try:
        extracted = work / "backup"
        extracted.mkdir(parents=True, mode=0o700)
        predicate, digest, names = extract_archive(path, extracted, trusted=trusted, advance=advance)  # 2
        staged.mkdir(mode=0o700)
        _take_state(extracted, staged, state_dir)
        file = staged / FILE_NAME
        make_database_at(file, str(predicate.get("revision")), lambda connection: _import_all(connection, extracted, names))  # 3
        with closing(Database.in_directory(staged)) as restored:
            verified = _verify_log(restored, staged)  # 4
            continued = _continue_log(restored, staged, verified, digest, str(predicate.get("createdAt")), now)
            baselines = _restore_baselines(extracted, staged, files, advance)
            if database is not None:
                terms = SqlTerms(database)
                with database.transaction():  # 5
                    term = terms.current()
                    copy_rows(restored, database)
                    _verify_log(database, staged)
                    terms.begin("restore", now, after=term)
        if database is not None:
            file.unlink()
        shutil.rmtree(extracted)
        _swap(state_dir, work, staged)  # 5
    except BaseException:
        _recover(state_dir, work)
        raise
    return Restored(
        digest=digest,
        created_at=str(predicate.get("createdAt")),
        leaves=verified.checkpoint.size,
        root=verified.checkpoint.root,
        baselines=baselines,
        continued=continued,
    )


def _import_all(connection: Connection, extracted: Path, names: Sequence[str]) -> None:
    known = [f"rows/{table.name}.jsonl" for table in PORTABLE]
    strange = [name for name in names if name.startswith("rows/") and name not in known]
    if strange:
        raise InputError(f"the backup has {strange[0]}, which is no table of ours", code="BackupRows")
    for name in known:
        if name in names:
            import_rows(connection, read_lines(extracted / name))


def _take_state(extracted: Path, staged: Path, state_dir: Path) -> None:
    """Keys and what else lies beside the database. Keys that the backup lacks stay those of the target; whatever key signed the log of the
    backup, and is not the one that will sign, is a retired one."""
    if (extracted / "state").is_dir():
        shutil.copytree(extracted / "state", staged, dirs_exist_ok=True)
    for stem in (AUDIT_KEY, f"{BASELINES}/own"):
        private, public = (staged / f"{stem}{suffix}" for suffix in (".pem", ".pub"))
        if private.exists():
            continue
        signed_before = public.read_bytes() if public.exists() else b""
        public.unlink(missing_ok=True)
        here, here_public = (state_dir / f"{stem}{suffix}" for suffix in (".pem", ".pub"))
        if here.exists():
            private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copy2(here, private)
            shutil.copy2(here_public, public)
        if stem == AUDIT_KEY and signed_before and not (public.exists() and public.read_bytes() == signed_before):
            retired = staged / RETIRED_AUDIT_KEYS / f"{hashlib.sha256(signed_before).hexdigest()[:16]}.pub"
            retired.parent.mkdir(exist_ok=True, mode=0o700)
            retired.write_bytes(signed_before)


def _keys(directory: Path) -> tuple[NoteKey, ...]:
    public = directory / f"{AUDIT_KEY}.pub"
    own = (read_audit_key(public),) if public.exists() else ()
    return (*own, *read_retired_keys(directory))


def _verify_log(database: Database, directory: Path) -> Verified:
    """Raises TrustError if the log is not what was signed."""
    _, lines = export_log(SqlLeafStore(database))
    return verify_export(lines, _keys(directory))


def _continue_log(database: Database, directory: Path, verified: Verified, digest: str, created_at: str, now: float) -> bool:
    if not (directory / f"{AUDIT_KEY}.pem").exists():
        return False
    private = load_ed25519_key(directory / f"{AUDIT_KEY}.pem")
    key = NoteKey(name=AUDIT_ORIGIN, public=private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    log = AuditLog(SqlLeafStore(database), key=key, signer=private, now=now, retired=read_retired_keys(directory))
    log.append([record_restore(backup=digest, created_at=created_at, leaves=verified.checkpoint.size, now=now)])
    return True


def _restore_baselines(extracted: Path, staged: Path, files: BaselineFiles | None, advance: Advance) -> int:
    """Into `files`, or else beside the database. None is believed for that: a store verifies what it opens."""
    with ExitStack() as stack:
        place = files or stack.enter_context(closing(BaselineDirectory(staged / BASELINES)))
        count = 0
        for line in read_lines(extracted / INDEX):
            stored = decode_stored(line)
            tables = {root: map_file(extracted / "tables" / f"{root.algorithm}-{root.hex}.table") for root in stored.table_roots}
            if any(data is None for data in tables.values()):
                raise InputError(f"the backup lacks a table of the baseline {stored.key}", code="BackupFormat")
            place.put(stored, {root: data for root, data in tables.items() if data is not None})
            count += 1
            advance(f"baseline {count}", 0, 0)
        return count


def _swap(state_dir: Path, work: Path, staged: Path) -> None:
    """1. What is there goes aside. 2. What was prepared takes its place. 3. One renaming makes that final."""
    old = work / REPLACED
    old.mkdir(mode=0o700)
    for path in sorted(state_dir.iterdir()):
        if path.name not in KEPT:
            path.rename(old / path.name)  # 1
    (work / MOVED).touch()
    sync_directory(work)
    for path in sorted(staged.iterdir()):
        path.rename(state_dir / path.name)  # 2
    sync_directory(state_dir)
    done = state_dir / DONE
    if done.exists():
        shutil.rmtree(done)
    work.rename(done)  # 3
    sync_directory(state_dir)
    shutil.rmtree(done, ignore_errors=True)


def _recover(state_dir: Path, work: Path) -> None:
    """Undoes what a restore began and did not finish: the target is as it was."""
    old = work / REPLACED
    if old.exists():
        if (work / MOVED).exists():
            for path in state_dir.iterdir():
                if path.name not in KEPT:
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for path in old.iterdir():
            path.rename(state_dir / path.name)
        old.rmdir()
        sync_directory(state_dir)
    if work.exists():
        shutil.rmtree(work)
