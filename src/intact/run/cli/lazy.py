"""A group of commands that are imported only when called, so that `--help` stays quick and a command needs no library of another."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """`commands_in`: the package whose modules are the commands; `lazy`: command → module, which defines it as `command`."""

    def __init__(self, *args: Any, commands_in: str, lazy: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._package, self._lazy = commands_in, lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._lazy:
            command: click.Command = import_module(f"{self._package}.{self._lazy[cmd_name]}").command
            return command
        return super().get_command(ctx, cmd_name)
