"""The `intact` command: results on stdout, talk on stderr, exit codes from `model.errors`."""

from __future__ import annotations

import sys

import click

from intact.model.errors import IntactError

COMMANDS: dict[str, str] = {
    "agent": "agent",
    "audit": "audit",
    "baseline": "baseline",
    "check": "check",
    "controller": "controller",
    "incident": "incident",
    "status": "status",
    "watch": "watch",
}
"""Command → module of this package that defines it as `command`; imported only when called, so that `--help` stays quick."""


class LazyGroup(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            from importlib import import_module

            command: click.Command = import_module(f"intact.run.cli.{COMMANDS[cmd_name]}").command
            return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="intact")
def cli() -> None:
    """Keeps running containers identical to the images they were started from."""


def main() -> None:
    """Runs the command line; an expected error is one line on stderr and its exit code, never a traceback."""
    try:
        sys.exit(cli(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except IntactError as error:
        click.echo(f"intact: {error}", err=True)
        sys.exit(error.exit_code)
