"""`intact backup`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from intact.model.errors import InputError
from intact.run.storage.backup import write_backup

from .output import check_replaceable
from .progress import by_kind, show_progress
from .storage import Storage, storage_options


@click.command(short_help="Writes everything that is remembered into one file.")
@storage_options
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FILE|DIR", help="Where to write the backup.")
@click.option("--with-keys", is_flag=True, help="Put the private keys in, too: whoever has the file can then sign as this installation.")
def command(storage: Storage, out: Path, with_keys: bool) -> None:
    """Writes everything that is remembered into one file, while the process runs: incidents, actions, the audit log, baselines.

    It is signed with the key of the audit log, and not encrypted. `intact restore` takes it back, also into another kind of store.
    """
    if not storage.has_database:
        raise InputError(f"there is nothing in {storage.state_dir}", code="NoState", hint="name the state directory of the process")
    if str(out) == "-":
        raise InputError("a backup is written to a file, not to stdout", hint="name the file; ./- if it is to be called so")
    if out.is_dir():
        out = out / f"intact-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar"
    check_replaceable(out)
    with (
        storage.open_database(read_only=True) as database,
        storage.open_baselines(read_only=True) as files,
        show_progress("backing up") as advance,
    ):
        backup = write_backup(
            out, state_dir=storage.state_dir, database=database, files=files, with_keys=with_keys, now=time.time(), advance=by_kind(advance)
        )
    keys = "with its private keys: keep it as you keep those" if backup.has_keys else "without private keys: back those up apart"
    click.echo(
        f"{out}: {out.stat().st_size} bytes, {backup.baselines} baselines, {backup.tables} layer tables, {keys}; "
        f"signed by {backup.key.id} (audit.pub: intact restore --trust)",
        err=True,
    )
    click.echo(backup.digest)
