"""Progress of long work, on stderr: a bar on a terminal, a line a step elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import click


class Advance(Protocol):
    """A `bytes_total` of 0 means nobody knows it. `detail` is for terminals alone: it may change at every call."""

    def __call__(self, step: str, bytes_done: int, bytes_total: int, detail: str = "", /) -> None: ...


@contextmanager
def show_progress(title: str) -> Iterator[Advance]:
    """Off a terminal, only steps of a known total are said, each once."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=None)

            def draw(step: str, done: int, total: int, detail: str = "", /) -> None:
                bar.update(task, description=f"{title} {step}{f', {detail}' if detail else ''}", completed=done, total=total or None)

            yield draw
        return
    said = ""

    def say(step: str, done: int, total: int, detail: str = "", /) -> None:
        nonlocal said
        if step != said and total:
            said = step
            click.echo(f"{title} {step}", err=True)

    yield say


def by_kind(advance: Callable[[str, int, int], None]) -> Callable[[str, int, int], None]:
    """For steps named as the members of an archive, of which there may be very many: `tables/sha256-…` is the step `tables`."""
    return lambda member, done, total: advance(member.partition("/")[0].removesuffix(".jsonl"), done, total)
