"""Every error of the platform. Codes are stable and published; messages say what happened and what to do about it.

HTTP status codes are chosen in api/problems alone, from the family (the class).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an input: where (`functions.size.inputs.load.type`), a stable code, a sentence."""

    path: str
    code: str
    message: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


class MecapyError(Exception):
    """Root of all errors. `code` is stable; `problems` lists every fault found, each with its path.

    `report`: what published clients read in place of the sentence, where they expect an object.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        problems: Sequence[Problem] = (),
        report: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.problems = tuple(problems)
        self.report = report

    def sentence(self, most: int = 20) -> str:
        """The message and its first problems in one text, for where there is no list."""
        lines = [(f"{problem.path}: {problem.message}", problem.message) for problem in self.problems[:most]]
        return " ".join(
            [self.message, "; ".join(line for line, text in lines if self.message not in {line, text})]
        ).strip()


class InvalidInputError(MecapyError):
    """The request is understood but its content is wrong; the sender can mend it."""


class MalformedError(MecapyError):
    """The request cannot be read at all: not a zip, not YAML, not JSON."""


class UnauthenticatedError(MecapyError):
    """No token, or one that cannot be trusted."""


class ForbiddenError(MecapyError):
    """Known and visible to the caller, who lacks the right."""


class NotFoundError(MecapyError):
    """Absent, or of another organization: the two are never told apart."""


class ConflictError(MecapyError):
    """Contradicts what is stored: a version that exists, a key used with another body."""


class TooLargeError(MecapyError):
    """Above a limit on size; the message names the limit."""


class QuotaExceededError(MecapyError):
    """The organization has used what it may; waiting or an administrator helps."""


class UnavailableError(MecapyError):
    """A part of the platform cannot be reached right now; trying again is right."""


class StorageError(UnavailableError):
    """The store did not do what it was asked: what tells of the object stays, and it is tried again."""


class StorageFullError(MecapyError):
    """The platform's disk is below its floor; nothing was written."""


class SandboxError(MecapyError):
    """The sandbox could not start or could not be trusted: our fault or the machine's, never the user's."""


class OutageError(SandboxError):
    """A part of the node that starts sandboxes is away: nothing of a task has begun, and nobody's task is at fault."""


class ConfigurationError(MecapyError):
    """A setting, a missing program or a missing right of the process; said at start."""
