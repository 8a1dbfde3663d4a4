"""`python -m intact`: the same as the `intact` command."""

from intact.run.cli import main

main()
