"""Baselines as other people write and read them: checksum lists, BSD mtree, JSON, in-toto, snapshot directories (docs/formats).

`export` and `checksums`, `mtree`, `document` are in and out. What a format cannot say is counted in `losses` and told; what a list does not
say is never made up (`model.stated`).
"""
