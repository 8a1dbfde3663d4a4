"""Owners as the container's user namespace shows them: of files, in access control lists, and of file capabilities.

In: an entry with the host's ids and the namespace's maps. Out: the entry as a process inside would see it, which is what an image declares.
Never drops what it cannot translate: an owner without an id inside is one that no image has.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from intact.model.container import IdMap
from intact.model.entry import Entry

UNMAPPED_ID = 0xFFFFFFFF
"""The id of an owner who has none in the container's user namespace; no file can have it (chown(2))."""

_ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
_ACL_VERSION = 2
_ACL_USER, _ACL_GROUP = 0x02, 0x08
_CAPABILITY = b"security.capability"
_REVISION_MASK, _REVISION_2, _REVISION_3 = 0xFF000000, 0x02000000, 0x03000000
_REVISION_3_BYTES = 24


def map_id(outside: int, lines: tuple[IdMap, ...]) -> int:
    """The id the container sees for the host's `outside` (user_namespaces(7)); without lines they are the same."""
    if not lines:
        return outside
    for line in lines:
        if line.outside <= outside < line.outside + line.count:
            return line.inside + outside - line.outside
    return UNMAPPED_ID


def map_owners(entry: Entry, uid_map: tuple[IdMap, ...], gid_map: tuple[IdMap, ...]) -> Entry:
    """`entry` as the container sees it."""
    if not uid_map and not gid_map:
        return entry
    xattrs = tuple((name, _map_attribute(name, value, uid_map, gid_map)) for name, value in entry.xattrs)
    return replace(entry, uid=map_id(entry.uid, uid_map), gid=map_id(entry.gid, gid_map), xattrs=xattrs)


def _map_attribute(name: bytes, value: bytes, uid_map: tuple[IdMap, ...], gid_map: tuple[IdMap, ...]) -> bytes:
    if name in _ACLS:
        return _map_acl(value, uid_map, gid_map)
    return _map_capability(value, uid_map) if name == _CAPABILITY else value


def _map_acl(value: bytes, uid_map: tuple[IdMap, ...], gid_map: tuple[IdMap, ...]) -> bytes:
    """The kernel's own form (include/uapi/linux/posix_acl_xattr.h): a version, then tag, permissions and id of each entry."""
    if len(value) < 4 or (len(value) - 4) % 8 or struct.unpack_from("<I", value)[0] != _ACL_VERSION:
        return value
    parts = [value[:4]]
    for tag, permissions, outside in struct.iter_unpack("<HHI", value[4:]):
        lines = {_ACL_USER: uid_map, _ACL_GROUP: gid_map}.get(tag)
        parts.append(struct.pack("<HHI", tag, permissions, outside if lines is None else map_id(outside, lines)))
    return b"".join(parts)


def _map_capability(value: bytes, uid_map: tuple[IdMap, ...]) -> bytes:
    """Capabilities that the namespace's root gave name that root's id outside (capabilities(7), "File capability extended attribute
    versioning"); inside they read as if there were no other root, as those of the image do. Others stay as they are: they grant nothing."""
    if len(value) != _REVISION_3_BYTES:
        return value
    magic, root = struct.unpack_from("<I", value)[0], struct.unpack_from("<I", value, _REVISION_3_BYTES - 4)[0]
    inside = map_id(root, uid_map)
    if magic & _REVISION_MASK != _REVISION_3 or inside == UNMAPPED_ID:
        return value
    if inside:
        return value[:-4] + struct.pack("<I", inside)
    return struct.pack("<I", magic & ~_REVISION_MASK | _REVISION_2) + value[4:-4]
