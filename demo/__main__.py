"""`python -m demo [--cluster current]`: the story from the beginning to the verdict. Exit code 0 only if every claim held."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from demo import act1, act2
from demo.story import Broken, Story
from lab.settings import LabError


def main(which: str) -> int:
    story = Story()
    with tempfile.TemporaryDirectory(prefix="intact-demo-") as name:
        workspace = Path(name)
        building = None
        if which != "current":
            log = (workspace / "binaries.log").open("wb")
            building = subprocess.Popen([sys.executable, "-m", "lab", "binaries"], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            act1.play(story, workspace)
            if building is not None and building.poll() is None:
                with story.step("Act 2 waits for Kubernetes' own programs, which are built once and kept"):
                    building.wait()
            act2.play(story, workspace, which)
        except (Broken, LabError) as error:
            story.claim("the story could be told to its end", False, str(error))
        except KeyboardInterrupt:
            sys.stderr.write("\ninterrupted; what the demo started is gone\n")
            return 130
        finally:
            if building is not None and building.poll() is None:
                building.terminate()
                building.wait()
    return story.finish()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--cluster", choices=["current"], default="", help="play Act 2 on the cluster of KUBECONFIG")
    sys.exit(main(parser.parse_args().cluster))
