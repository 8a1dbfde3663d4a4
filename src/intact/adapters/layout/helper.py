"""A second process that reads directories: Python runs on one core, and hashing is work for all of them.

The parent sends lists of directories over a pipe and gets a `Batch` for each. The helper inherits a handle of the tree's root and nothing
else, writes nothing, and ends when its parent does. It is the parent's own program on the parent's own data: what comes back is believed.
"""

from __future__ import annotations

import pickle
import subprocess
import sys

from intact.model.digest import Algorithms
from intact.model.errors import PermanentError

from .reading import Batch, DirectoryReader


class Helper:
    """One helper process. Not for use by two threads at once."""

    def __init__(self, root: int, algorithms: Algorithms) -> None:
        command = [sys.executable, "-P", "-m", __name__, str(root), *algorithms.names]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=(root,), process_group=0
        )

    def read(self, directories: list[bytes]) -> Batch:
        """`DirectoryReader.read`, there. Raises PermanentError if the helper is no more."""
        assert self._process.stdin is not None and self._process.stdout is not None, "both are pipes"
        try:
            pickle.dump(directories, self._process.stdin)
            self._process.stdin.flush()
            batch: Batch = pickle.load(self._process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            raise PermanentError(
                f"a helper process ended ({self._process.wait()})", code="Helper", hint="is there enough memory?"
            ) from None
        return batch

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Nobody may be reading any more."""
        self._process.communicate()


def serve(root: int, algorithms: Algorithms) -> None:
    """What the helper does until its parent closes the pipe."""
    reader = DirectoryReader(root, algorithms)
    while True:
        try:
            directories = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(reader.read(directories), sys.stdout.buffer, protocol=pickle.HIGHEST_PROTOCOL)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Algorithms(sys.argv[2], tuple(sys.argv[3:])))
