"""`intact restore`."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import click

from intact.adapters.keys.signing import load_public_key
from intact.baseline.signing import PublicKey
from intact.model.errors import InputError
from intact.run.storage.memory import AUDIT_KEY
from intact.run.storage.restore import claim, restore_backup

from .progress import by_kind, show_progress
from .storage import Storage, storage_options


@click.command(short_help="Puts back what `intact backup` wrote.")
@click.argument("file", type=click.Path(path_type=Path))
@storage_options
@click.option(
    "--trust",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="audit.pub",
    help="A key that may have signed the backup; may be repeated. Without it, the one that is in the state directory.",
)
@click.option("--replace", is_flag=True, help="Replace what is there. It is gone then.")
def command(file: Path, storage: Storage, trust: tuple[Path, ...], replace: bool) -> None:
    """Puts back what `intact backup` wrote to FILE, after all of it has been verified; the process must not run.

    With --database and --objects it goes there, from whatever kind of store it came: that is the way from one node to scale.
    """
    if not file.is_file():
        raise InputError(f"there is no file {file}", code="NoSuchFile")
    with claim(storage.state_dir, replace=replace), ExitStack() as stack:
        trusted = [PublicKey(load_public_key(path)) for path in trust or _own_key(storage.state_dir)]
        database = stack.enter_context(storage.open_database(read_only=False)) if storage.database_url else None
        files = stack.enter_context(storage.open_baselines()) if storage.objects is not None else None
        advance = stack.enter_context(show_progress("restoring"))
        restored = restore_backup(
            file,
            state_dir=storage.state_dir,
            database=database,
            files=files,
            trusted=trusted,
            replace=replace,
            now=time.time(),
            advance=by_kind(advance),
        )
    click.echo(f"restored the backup of {restored.created_at}, {restored.digest}: {restored.baselines} baselines")
    click.echo(f"audit log verified: {restored.leaves} leaves, root sha256:{restored.root.hex()}")
    if restored.continued:
        click.echo("a leaf behind them says that the log was restored")
    else:
        click.echo("the backup has no private keys and none is there: the next start makes new ones, and the log says so", err=True)
    click.echo(
        "what was recorded after the backup is not in this log; whoever kept a later checkpoint of it will see that, and should", err=True
    )


def _own_key(state_dir: Path) -> tuple[Path, ...]:
    path = state_dir / f"{AUDIT_KEY}.pub"
    if not path.exists():
        hint = "--trust FILE: the audit.pub of the installation that made the backup, kept apart from it"
        raise InputError("nobody is trusted to have made the backup", code="NoTrustedKey", hint=hint)
    return (path,)
