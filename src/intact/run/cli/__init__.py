"""The `intact` command: results on stdout, talk on stderr, exit codes from `model.errors`."""

from __future__ import annotations

import os
import sys

import click

from intact.model.errors import IntactError, PermanentError

from .lazy import LazyGroup

EXIT_NOBODY_READS = 141
"""As a program that the shell sees die of SIGPIPE."""

COMMANDS: dict[str, str] = {
    "agent": "agent",
    "audit": "audit",
    "backup": "backup",
    "baseline": "baseline",
    "check": "check",
    "controller": "controller",
    "diff": "diff",
    "incident": "incident",
    "policy": "policy",
    "restore": "restore",
    "status": "status",
    "watch": "watch",
}
"""Command → module of this package that defines it as `command`; imported only when called, so that `--help` stays quick."""


class Root(LazyGroup):
    """All commands."""

    def invoke(self, ctx: click.Context) -> object:
        """Here and not in `main`, since click itself ends a broken pipe with 1, which says that something differs."""
        try:
            result: object = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError:
            _discard_output()
            raise click.exceptions.Exit(EXIT_NOBODY_READS) from None
        return result


EXIT_CODES = """\b
Exit codes, of every command that looks:
  0   everything that was looked at is intact
  1   something differs
  3   nothing differs, but not everything could be looked at
Of every command:
  2   wrong use      10  wrong input        11  a proof failed
  12  try again      13  the world refuses  130 interrupted"""


@click.group(cls=Root, commands_in=__name__, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(package_name="intact", prog_name="intact")
def cli() -> None:
    """Keeps running containers identical to the images they were started from."""


def _discard_output() -> None:
    """What is still buffered for a stdout that takes nothing would be tried once more, and complained about, when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def main() -> None:
    """Runs the command line; an expected error is one line on stderr and its exit code, never a traceback."""
    if sys.stderr is None:  # closed by whoever started this: talk goes nowhere, results and exit codes stay what they are
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        sys.exit(cli(standalone_mode=False, prog_name="intact") or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except ModuleNotFoundError as error:
        click.echo(f"intact: this needs the Python package {error.name} (pip install 'intact[cli,controller]')", err=True)
        sys.exit(PermanentError.exit_code)
    except OSError as error:
        _discard_output()
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"intact: {where}{error.strerror or error}", err=True)
        sys.exit(PermanentError.exit_code)
    except IntactError as error:
        click.echo(f"intact: {error}", err=True)
        sys.exit(error.exit_code)
