"""Errors, sorted by what the caller can do about them.

Every error that may reach a person says what is wrong and what to do, carries a stable `code` for machines, and maps to one exit code.
"""

from __future__ import annotations

EXIT_CLEAN = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_UNOBSERVED = 3
"""No findings, but not everything could be looked at."""


class IntactError(Exception):
    """Base of all expected errors: `exit_code` is the process's, `code` names the case."""

    exit_code = 10

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.code = code or type(self).__name__
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} ({self.hint})" if self.hint else message


class InputError(IntactError):
    """The input is wrong: mend it and try again."""

    exit_code = 10


class TrustError(IntactError):
    """A proof failed: a signature, a digest, an identity. Never retry; fail closed."""

    exit_code = 11


class TemporaryError(IntactError):
    """The world was not ready: retry later with the same input."""

    exit_code = 12


class PermanentError(IntactError):
    """The world refuses, and will refuse again: somebody has to change something else first."""

    exit_code = 13
