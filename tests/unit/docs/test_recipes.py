"""The recipes for CI are what a person copies: they are YAML, and every `intact` in them is a command line that exists."""

import re
import shlex
from typing import Any

import click
import pytest
import yaml

from intact.run.cli import cli
from lab.settings import REPOSITORY

PAGE = (REPOSITORY / "docs/registries.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
RECIPES = {name: body for _, body in BLOCKS if (name := body.partition("\n")[0].removeprefix("# ")).startswith((".github/", ".gitlab-ci"))}


def find_scripts(node: Any) -> list[str]:
    """Everything that a runner would give to a shell."""
    match node:
        case dict():
            found = [node[key] for key in ("run", "script") if key in node]
            own = [line for lines in found for line in (lines if isinstance(lines, list) else [lines])]
            return own + [line for value in node.values() for line in find_scripts(value)]
        case list():
            return [line for value in node for line in find_scripts(value) if isinstance(value, dict)]
        case _:
            return []


def find_commands(scripts: list[str]) -> list[list[str]]:
    """The command lines that begin with `intact`."""
    lines = [line.strip() for script in scripts for line in script.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("intact ")]


def check(arguments: list[str]) -> click.Command:
    """Parses a command line as `intact` would, without running it."""
    context, command = click.Context(cli), cli
    group: click.Command = command
    while isinstance(group, click.Group):
        name, found, arguments = group.resolve_command(context, arguments)
        assert name is not None and found is not None
        context, group = click.Context(found, parent=context), found
    group.parse_args(context, [*arguments])
    return group


def test_both_recipes_are_there() -> None:
    assert sorted(RECIPES) == [".github/workflows/image.yaml", ".gitlab-ci.yml"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_builds_signs_and_pushes_with_commands_that_exist(recipe: str) -> None:
    commands = find_commands(find_scripts(yaml.safe_load(RECIPES[recipe])))
    assert [(arguments[0], arguments[1]) for arguments in commands] == [("baseline", "build"), ("baseline", "push")]
    for arguments in commands:
        check(arguments)
    assert "--key" in commands[0], "an unsigned baseline is not pushed"


def test_every_command_of_the_page_exists() -> None:
    lines = [line.partition(" #")[0] for language, body in BLOCKS if not language for line in body.splitlines()]
    commands = find_commands(lines)
    assert len(commands) >= 4
    for arguments in commands:
        check(arguments)


def test_a_command_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(click.UsageError):
        check(["baseline", "push", "file", "image", "--no-such-option"])
    with pytest.raises(click.UsageError):
        check(["baseline", "pusch", "file"])
