"""One module a revision, in order. What is published here never changes: it describes databases that exist."""
