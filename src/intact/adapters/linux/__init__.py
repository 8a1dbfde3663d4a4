"""Linux as the observer sees it: trees, the mount table, processes, and the events of a file system."""
