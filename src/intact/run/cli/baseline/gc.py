"""`intact baseline gc`."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from intact.baseline.collect import RETAIN_S, Harvest, collect
from intact.model.errors import InputError
from intact.run.cli.progress import show_progress
from intact.run.cli.storage import Storage, storage_options
from intact.run.storage.open import BASELINES

from .files import clean

DAY_S = 86400.0


@click.command("gc")
@storage_options
@click.option(
    "--retain-days",
    type=click.IntRange(1, 36500),  # a controller says every six hours what is needed
    default=int(RETAIN_S / DAY_S),
    show_default=True,
    help="Keep what was needed in the last so many days.",
)
@click.option("--keep", "needed", multiple=True, metavar="NAME", help="Keep this image's baseline, by key or alias; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print the result.")
def command(storage: Storage, retain_days: int, needed: tuple[str, ...], dry_run: bool, output: str) -> None:
    """Removes baselines that no image needed for a while, and layer tables that no baseline has.

    A controller does so by itself, and marks what runs as needed; this may run beside it. What was stored in the last day stays.
    """
    if storage.objects is None and not (storage.state_dir / BASELINES).is_dir():
        raise InputError(f"there are no baselines in {storage.state_dir}", code="NoState", hint="name the state directory of the process")
    with storage.open_baselines() as files, show_progress("removing") as advance:
        harvest = collect(
            files,
            needed=needed,
            now=time.time(),
            retain_s=retain_days * DAY_S,
            dry_run=dry_run,
            progress=lambda done, total: advance("tables", done, total),
        )
    if output == "json":
        click.echo(json.dumps(describe(harvest, dry_run=dry_run), indent=2))
        return
    word = "would remove" if dry_run else "removed"
    for one in (*harvest.baselines, *harvest.tables):
        click.echo(f"{word} {clean(one.name)}  {one.size_bytes} bytes  {one.reason}")
    click.echo(
        f"{word} {len(harvest.baselines)} baselines and {len(harvest.tables)} tables, {harvest.size_bytes} bytes; "
        f"{harvest.kept_baselines} baselines and {harvest.kept_tables} tables stay, {harvest.kept_bytes} bytes"
    )


def describe(harvest: Harvest, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dryRun": dry_run,
        "baselines": [{"key": one.name, "bytes": one.size_bytes, "reason": one.reason} for one in harvest.baselines],
        "tables": [{"name": one.name, "bytes": one.size_bytes, "reason": one.reason} for one in harvest.tables],
        "freedBytes": harvest.size_bytes,
        "kept": {"baselines": harvest.kept_baselines, "tables": harvest.kept_tables, "bytes": harvest.kept_bytes},
    }
