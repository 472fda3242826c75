"""Everything that may go wrong on purpose, and the exit code each one ends in.

HoldfastError                1   (never raised itself)
├── UsageError               2   the command was called in a way it does not know
├── BadData                 65   a table holds what its contract does not allow
├── MissingInput            66   a file, a store, a bundle or a list that was asked for is not there
├── ServiceAway             69   a database or a tracking server does not answer
├── BundleRefused           70   a bundle is damaged, foreign or made for other windows
├── CannotWrite             74   a folder or a disk refused
├── TryAgain                75   somebody else holds the lock
└── BadConfiguration        78   holdfast.toml says what cannot be meant

An expected failure is one of these and nothing else; the command line prints it as one message and leaves with its
code.
"""

from __future__ import annotations


class HoldfastError(Exception):
    """One readable message: what went wrong, where, what is allowed, what was got, what to do.

    Every part but `what` may be left out; the message is the parts that were given, in that order.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        allowed: str | None = None,
        got: str | None = None,
        do: str | None = None,
    ) -> None:
        self.what, self.where, self.allowed, self.got, self.do = what, where, allowed, got, do
        super().__init__(self.message())

    def message(self) -> str:
        """The parts that were given, a line each."""
        parts = (("where", self.where), ("allowed", self.allowed), ("got", self.got), ("do", self.do))
        return "\n".join([self.what, *(f"  {name + ':':<9}{text}" for name, text in parts if text)])


class UsageError(HoldfastError):
    exit_code = 2


class BadData(HoldfastError):
    exit_code = 65


class MissingInput(HoldfastError):
    exit_code = 66


class ServiceAway(HoldfastError):
    exit_code = 69


class BundleRefused(HoldfastError):
    exit_code = 70


class CannotWrite(HoldfastError):
    exit_code = 74


class TryAgain(HoldfastError):
    exit_code = 75


class BadConfiguration(HoldfastError):
    exit_code = 78
