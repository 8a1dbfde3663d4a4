"""The same command, carried out in one of Intact's own pods, for what only that can see; the cluster says who may (pods/exec)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

from intact.model.entry import display_path
from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError, TrustError

NAMESPACE = "intact-system"
_PROGRAM = ("/usr/bin/python3", "-IB", "-m", "intact")
_ERRORS: dict[int, type[IntactError]] = {one.exit_code: one for one in (InputError, TrustError, TemporaryError, PermanentError)}
_CHUNK_BYTES = 1 << 16


def call_in_controller(arguments: Sequence[str], *, namespace: str = NAMESPACE) -> Iterator[bytes]:
    """What `intact ARGUMENTS` prints in the controller's pod. Raises InputError without kubectl, PermanentError when it fails."""
    return call_in_pod("deploy/intact-controller", "controller", arguments, namespace=namespace)


def call_in_pod(pod: str, container: str, arguments: Sequence[str], *, namespace: str = NAMESPACE) -> Iterator[bytes]:
    """What `intact ARGUMENTS` prints in `pod`, as kubectl names one. Raises as `call_in_controller` does."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise InputError("this needs kubectl on the PATH", hint=f"or run the command in the {container}'s pod")
    command = [kubectl, "-n", namespace, "exec", pod, "-c", container, "--", *_PROGRAM, *arguments]
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, stdin=subprocess.DEVNULL) as running:
            assert running.stdout is not None
            try:
                while chunk := running.stdout.read(_CHUNK_BYTES):
                    yield chunk
            except BaseException:  # whoever asked wants no more of it
                running.terminate()
                raise
        if running.returncode:
            said.seek(0)
            raise _make_error(running.returncode, said.read(4096), container)


def _make_error(code: int, said: bytes, container: str) -> IntactError:
    """What `intact` says there is said here, with the same exit code; anything else is kubectl's."""
    lines = [line for line in said.strip().split(b"\n") if not line.startswith(b"command terminated with exit code")]
    if code in _ERRORS and lines and lines[-1].startswith(b"intact: "):
        return _ERRORS[code](f"the {container} says: {display_path(lines[-1].removeprefix(b'intact: '))}", code="InCluster")
    return PermanentError(f"the {container} could not be asked: {display_path(b'; '.join(lines))}", code="InCluster")
