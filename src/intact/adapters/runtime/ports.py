"""What the runtime adapter offers, and what it needs from the host."""

from __future__ import annotations

from typing import Protocol

from intact.model.container import Mounted, Running


class Confirm(Protocol):
    """The host's word on a mount that the runtime declares."""

    def __call__(self, declared: Mounted, *, id: str, namespace: str, init_pid: int) -> Mounted | str | None:
        """`declared` (its `device` is 0) with the device and the options of the host's mount table, or the reason why the host does not
        confirm it; None where its first process has ended, which the runtime will say as well. `id` and `namespace` are the runtime's own
        words for the container."""


class Runtime(Protocol):
    """A container runtime of this host."""

    def list_running(self, node: str) -> tuple[Running, ...]:
        """Every container that runs or is paused, sandboxes included. Raises TemporaryError where the runtime does not answer."""
