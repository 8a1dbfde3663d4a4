"""How much of the time some task of this machine waits for its disks (PSI, Documentation/accounting/psi.rst).

Out: a share in percent over the last ten seconds, or None where the kernel does not say.
"""

from __future__ import annotations

from pathlib import Path

IO = Path("/proc/pressure/io")


def read_io_pressure(path: Path = IO) -> float | None:
    """`some avg10` of the machine. None without PSI: a kernel built without it or booted with `psi=0`."""
    try:
        some = path.read_text().partition("\n")[0]
        return float(next(word for word in some.split() if word.startswith("avg10=")).removeprefix("avg10="))
    except (OSError, ValueError, StopIteration):
        return None
