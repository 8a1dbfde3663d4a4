"""`intact baseline`: what an image says its files are. Results on stdout or in FILE, talk on stderr."""

from __future__ import annotations

import click

from intact.run.cli.lazy import LazyGroup

COMMANDS = {
    "build": "build",
    "diff": "diff",
    "export": "export",
    "gc": "gc",
    "import": "import_",
    "keygen": "keygen",
    "pull": "pull",
    "push": "push",
    "show": "show",
    "sign": "sign",
    "trust": "trust",
    "verify": "verify",
}


@click.group(cls=LazyGroup, commands_in=__name__, lazy=COMMANDS, short_help="Builds, signs, verifies and exports what images hold.")
def command() -> None:
    """Builds, signs, verifies and exports baselines: what an image says its files are."""
