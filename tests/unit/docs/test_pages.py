"""What the pages name is there: commands and their options, modules, files, targets of make, places that links lead to."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from intact.compare import text
from intact.run.cli import cli, diff_in_cluster, diff_output
from intact.run.node import showing

REPOSITORY = Path(__file__).parents[3]
PAGES = {
    str(path.relative_to(REPOSITORY)): path.read_text()
    for path in sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("docs/*/*.md")])
    if path.name != "CHANGELOG.md"
}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")


def find_command_lines(text: str) -> list[str]:
    """Lines of blocks that start with `intact` or `kubectl intact`, whole; and those that sentences quote, which may be a part of one."""
    lines = [line.removeprefix("$ ").partition("  #")[0] for _, body in BLOCK.findall(text) for line in body.splitlines()]
    lines += INLINE.findall(BLOCK.sub("", text))
    found = [line.removeprefix("kubectl ") for line in lines if re.match(r"(?:kubectl )?intact [a-z]", line)]
    return [line for line in found if not re.search(r" v\d$", line)]  # the name of a format, not of a command


def check_names(line: str) -> None:
    """Every command and option of `line` exists; `a|b` are both. What is missing in it is not looked at."""
    words = shlex.split(re.sub(r"[\[\]]", " ", re.split(r" [|>] ", line)[0]), comments=True)[1:]
    commands: list[click.Command] = [cli]
    context = click.Context(cli)
    while words and all(isinstance(command, click.Group) for command in commands):
        groups = [command for command in commands if isinstance(command, click.Group)]
        found = [group.get_command(context, name) for name in words.pop(0).split("|") for group in groups]
        assert None not in found, f"no such command: {line}"
        commands = [command for command in found if command is not None]
    for command in commands:
        known = {option for one in command.params for option in [*one.opts, *one.secondary_opts]} | {"-h", "--help"}
        for word in words:
            assert not re.match(r"--?[a-z]", word) or word.partition("=")[0] in known, f"{command.name} has no {word}: {line}"


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_names_exists_with_its_options(page: str) -> None:
    for line in find_command_lines(PAGES[page]):
        check_names(line)


def test_commands_are_found_in_blocks_and_in_sentences() -> None:
    assert len(find_command_lines(PAGES["README.md"])) > 10 and len(find_command_lines(PAGES["docs/diff.md"])) > 5


@pytest.mark.parametrize("line", ["intact dif web", "intact diff web --no-such", "intact audit export|verfy X", "intact diff web -x"])
def test_a_name_that_does_not_exist_is_noticed(line: str) -> None:
    with pytest.raises(AssertionError):
        check_names(line)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_target_and_module_that_a_page_names_is_there(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for quoted in INLINE.findall(BLOCK.sub("", PAGES[page])):
        if found := re.match(r"(?:src|tests|bench|lab|demo|deploy|docs|image)/[\w./-]+", quoted):
            assert (REPOSITORY / found[0]).exists(), quoted
        elif found := re.match(r"make ((?:[a-z-]+ ?)+)", quoted):
            assert set(found[1].split()) <= targets, quoted
        elif found := re.match(r"python -m (\w+)(?:\.(\w+)| ([a-z_]+))?", quoted):
            place = REPOSITORY / found[1]
            assert place.is_dir(), quoted
            name = found[2] or (found[3] if found[1] == "bench" else None)
            assert name is None or (place / f"{name}.py").exists() or (place / name).is_dir(), quoted


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        file, _, heading = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        path = (REPOSITORY / page).parent / file if file else REPOSITORY / page
        assert path.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


def test_the_bounds_of_a_difference_are_those_of_the_code() -> None:
    page = PAGES["docs/diff.md"]
    assert (text.MOST_BYTES, text.MOST_LINES, text.MOST_SHOWN, text.MOST_EDITS) == (256 << 10, 20_000, 200, 250)
    assert "over 256 KiB or\n20,000 lines" in page and "at most 200 of them" in page and "beyond 250 edits" in page
    assert showing.MOST_BYTES == 1 << 20 and "about 1 MiB" in page
    assert (diff_in_cluster.PATIENCE_S, diff_in_cluster.UNREADY_S) == (600, 60) and "ten minutes" in page
    assert all(f"--output {form}" in page for form in diff_output.OUTPUTS if form != "table")


def test_every_room_and_module_of_the_map_exists() -> None:
    """Of the table: a row's first cell is a room, and so is, or is a module in it, what its second cell quotes."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGES["ARCHITECTURE.md"], re.MULTILINE)
    source = REPOSITORY / "src/intact"
    assert {room for room, _ in rows} == {path.name for path in source.iterdir() if (path / "__init__.py").exists()}
    for room, about in rows:
        modules = {path.relative_to(source / room).with_suffix("") for path in (source / room).rglob("*") if path.suffix in ("", ".py")}
        for name in INLINE.findall(about):
            assert name.startswith("intact ") or any(module.parts[-len(Path(name).parts) :] == Path(name).parts for module in modules), name
