"""What a file is made of: recompiling and unpacking an image's own files, in a process of its own."""
