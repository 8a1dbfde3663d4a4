"""What each kernel tells of changes: the observer's own program on real kernels under QEMU, as a table.

sudo python -m bench.kernels [SERIES …]
"""

from __future__ import annotations

import argparse
import json
import time

from lab.kernels import KERNELS, run_guest
from lab.settings import REPOSITORY
from tests.kernels.test_kernels import FILES, GUEST


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument(
        "series", nargs="*", default=list(KERNELS), metavar="SERIES", help=f"of {', '.join(KERNELS)}; all if none is named"
    )
    told = {}
    for series in options.parse_args().series:
        began = time.monotonic()
        told[series] = json.loads(run_guest(series, GUEST, REPOSITORY, FILES).splitlines()[-1])
        print(f"{told[series]['release']}: tier {told[series]['tier']}, {told[series]['reason']} ({time.monotonic() - began:.0f} s)")
    print("\n| change | " + " | ".join(f"{series} (tier {one['tier']})" for series, one in told.items()) + " |")
    print("|---" * (len(told) + 1) + "|")
    for change in next(iter(told.values()))["changes"]:
        cells = [one["changes"][change] for one in told.values()]
        print(f"| {change} | " + " | ".join("heard" if c["heard"] else "found" if c["found"] else "**missed**" for c in cells) + " |")


if __name__ == "__main__":
    main()
