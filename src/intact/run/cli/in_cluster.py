"""The same command, carried out in one of Intact's own pods, for what only that can see; the cluster says who may (pods/exec)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from intact.model.entry import display_path
from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError, TrustError

NAMESPACE = "intact-system"
_PROGRAM = ("/usr/bin/python3", "-IB", "-m", "intact")
_ERRORS: dict[int, type[IntactError]] = {one.exit_code: one for one in (InputError, TrustError, TemporaryError, PermanentError)}
_CHUNK_BYTES = 1 << 16


def call_in_controller(arguments: Sequence[str], *, namespace: str = NAMESPACE) -> Iterator[bytes]:
    """What `intact ARGUMENTS` prints in the controller's pod. Raises InputError without kubectl, PermanentError when it fails."""
    return call_in_pod("deploy/intact-controller", "controller", arguments, namespace=namespace)


def call_in_pod(
    pod: str, container: str, arguments: Sequence[str], *, namespace: str = NAMESPACE, patience_s: float | None = None
) -> Iterator[bytes]:
    """What `intact ARGUMENTS` prints in `pod`, as kubectl names one. Raises as `call_in_controller` does, and TemporaryError where it has
    not ended after `patience_s`: kubectl itself waits for a node that hangs for as long as that hangs."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise InputError("this needs kubectl on the PATH", hint=f"or run the command in the {container}'s pod")
    command = [kubectl, "-n", namespace, "exec", pod, "-c", container, "--", *_PROGRAM, *arguments]
    with tempfile.TemporaryFile() as said:
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, stdin=subprocess.DEVNULL) as running,
            _end_after(patience_s, running) as is_over,
        ):
            assert running.stdout is not None
            try:
                while chunk := running.stdout.read(_CHUNK_BYTES):
                    yield chunk
            except BaseException:  # whoever asked wants no more of it
                running.terminate()
                raise
        if is_over.is_set():
            raise TemporaryError(
                f"the {container} in {pod} did not answer within {patience_s:.0f} s", code="Silent", hint="is its node well?"
            )
        if running.returncode:
            said.seek(0)
            raise _make_error(running.returncode, said.read(4096), container)


@contextmanager
def _end_after(patience_s: float | None, running: subprocess.Popen[bytes]) -> Iterator[threading.Event]:
    """The event is set if it was ended for that."""
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        running.kill()

    timer = threading.Timer(patience_s, end) if patience_s is not None else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield is_over
    finally:
        if timer is not None:
            timer.cancel()


def _make_error(code: int, said: bytes, container: str) -> IntactError:
    """What `intact` says there is said here, with the same exit code; anything else is kubectl's."""
    lines = [line for line in said.strip().split(b"\n") if not line.startswith(b"command terminated with exit code")]
    if code in _ERRORS and lines and lines[-1].startswith(b"intact: "):
        return _ERRORS[code](f"the {container} says: {display_path(lines[-1].removeprefix(b'intact: '))}", code="InCluster")
    return PermanentError(f"the {container} could not be asked: {display_path(b'; '.join(lines))}", code="InCluster")
