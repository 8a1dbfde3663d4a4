"""`python -m demo`: the story from the beginning to the verdict."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from demo import act1
from demo.story import Broken, Story


def main() -> int:
    story = Story()
    with tempfile.TemporaryDirectory(prefix="intact-demo-") as workspace:
        try:
            act1.play(story, Path(workspace))
        except Broken as error:
            story.claim("the story could be told to its end", False, str(error))
    return story.finish()


if __name__ == "__main__":
    sys.exit(main())
