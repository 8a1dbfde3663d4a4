"""The process in which an image's files are recompiled and unpacked. Run as a module by `workshop`; never imported by the agent.

In: requests on the standard input, one after the other. Out: one line of JSON for each. What is read here was made by an attacker or by
whoever made the image: the process has no capabilities, little memory and processor time, an empty environment, and loads nothing of the
container.

A request is a line of JSON with the lengths of what follows it. `bytecode`: a `.pyc` and the source file of the image. `archive`: the
number of an open descriptor, and the sizes and digests that are looked for.
"""

from __future__ import annotations

import ctypes
import json
import marshal
import os
import resource
import struct
import sys
import warnings
from importlib.util import MAGIC_NUMBER
from typing import BinaryIO

from intact.model.digest import Algorithms
from intact.model.hashing import choose_hasher

from .bytecode import NotUnderstood, digest_code
from .members import Search, TooMuch

FIRST_WITH_FLAGS = 3392
"""The first magic number of Python 3.7, which brought them (PEP 552)."""
MEMORY_BYTES = 256 << 20
PROCESSOR_S = 20
"""Processor time for one request."""
_PR_SET_NO_NEW_PRIVS, _CAPABILITY_VERSION_3 = 38, 0x20080522

Answer = dict[str, object]


def main() -> None:
    give_up_rights()
    warnings.simplefilter("ignore")
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := requests.readline():
        request = json.loads(line)
        allow_time()
        try:
            answer = _compare(request, requests) if request["do"] == "bytecode" else _search(request)
        except MemoryError:
            answer = {"unknown": "needs more memory than it may have"}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def give_up_rights() -> None:
    """Bounds memory, time and files, then drops every capability (capabilities(7)) and the way to new ones."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("II", _CAPABILITY_VERSION_3, 0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.capset(header, bytes(24)):
        raise OSError(ctypes.get_errno(), "cannot give up rights")


def allow_time() -> None:
    """Ends the process by SIGXCPU when it has worked for so long from now on (getrlimit(2))."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + PROCESSOR_S
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _compare(request: Answer, requests: BinaryIO) -> Answer:
    """Whether a `.pyc` (PEP 552) is what this interpreter makes of the source:

    1. no flags, as in every version since 3.7: what is checked by a hash, or not at all, no interpreter writes by itself;
    2. its magic number is this interpreter's; otherwise it cannot be told;
    3. size and time of the source are those of the image's file;
    4. its file name is the source's, whatever directory;
    5. the code is the code that compiling the source gives.
    """
    cached = requests.read(int(str(request["cached"])))
    source = requests.read(int(str(request["source"])))
    if len(cached) < 16:
        return {"forged": "is cut off"}
    version, flags, mtime, size = struct.unpack("<HxxIII", cached[:16])
    if cached[2:4] != b"\r\n":
        return {"forged": "does not begin as bytecode does"}
    if flags and version >= FIRST_WITH_FLAGS:  # 1
        return {"forged": "is not checked against its source by time and size, as every interpreter writes it by itself"}
    if cached[:4] != MAGIC_NUMBER:  # 2
        return {"unknown": "was written by another version of Python than the one that checks it"}
    try:
        written, name = digest_code(cached[16:])
    except NotUnderstood as reason:
        return {"forged": f"is no bytecode: {reason}"}
    if name.rpartition(b"/")[2] != str(request["name"]).encode("latin-1"):  # 4
        return {"forged": "bears the name of another source file"}
    try:
        code = compile(source, os.fsdecode(name), "exec", dont_inherit=True, optimize=int(str(request["optimize"])))
        compiled = digest_code(marshal.dumps(code))[0]
    except (SyntaxError, ValueError, RecursionError, OverflowError, NotUnderstood) as error:
        return {"unknown": f"its source cannot be compiled: {type(error).__name__}"}
    if compiled != written:  # 5
        return {"forged": "is not what its source compiles to"}
    if size != len(source) & 0xFFFFFFFF or mtime != int(str(request["mtime"])) & 0xFFFFFFFF:  # 3
        return {"unknown": "states another size or time than its source in the image has"}
    return {"derived": True}


def _search(request: Answer) -> Answer:
    """Which of the wanted contents are in the archive, and the sizes of all its members."""
    wanted: dict[int, frozenset[bytes]] = {}
    for size, digest in request["wanted"]:  # type: ignore[attr-defined]
        wanted[size] = wanted.get(size, frozenset()) | {bytes.fromhex(digest)}
    search = Search(choose_hasher(Algorithms(str(request["algorithm"]))), wanted)
    reason = ""
    try:
        with os.fdopen(int(str(request["descriptor"])), "rb") as file:
            search.read(file)
    except (TooMuch, Exception) as error:  # zipfile and zlib raise what they like on hostile bytes
        reason = f"{type(error).__name__}: {error}"[:200]
    return {"found": [digest.hex() for digest in search.found], "sizes": sorted(search.sizes), "reason": reason}


if __name__ == "__main__":
    main()
