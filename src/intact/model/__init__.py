"""The nouns: plain, frozen records that travel between the stages. Pure; standard library only (patterns add `pathspec`).

Nothing here opens a file, reads a clock or talks to anybody.
"""
