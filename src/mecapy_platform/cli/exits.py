"""What the exit code of `mecapy` means, and which one an error gets."""

from enum import IntEnum

from mecapy_platform.core.errors import (
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    MalformedError,
    MecapyError,
    NotFoundError,
    TooLargeError,
    UnauthenticatedError,
)


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_AUTHORISED = 3
    NOT_FOUND = 4
    UNREACHABLE = 5
    OUT_OF_TIME = 6
    INVALID_INPUT = 7


LEGEND = (
    "Exit codes: 0 ok · 1 the task, build or test failed · 2 wrong usage · 3 not logged in or not allowed · 4 not "
    "found · "
    "5 platform unreachable or unable · 6 out of time (time limit, or still running) · 7 invalid input"
)

FAMILIES: tuple[tuple[type[MecapyError], ExitCode], ...] = (
    (ConfigurationError, ExitCode.USAGE),
    (UnauthenticatedError, ExitCode.NOT_AUTHORISED),
    (ForbiddenError, ExitCode.NOT_AUTHORISED),
    (NotFoundError, ExitCode.NOT_FOUND),
    (InvalidInputError, ExitCode.INVALID_INPUT),
    (MalformedError, ExitCode.INVALID_INPUT),
    (ConflictError, ExitCode.INVALID_INPUT),
    (TooLargeError, ExitCode.INVALID_INPUT),
)


def exit_code(error: MecapyError) -> ExitCode:
    """By family; what has none of these is the platform's or the network's trouble."""
    if error.code == "still_running":
        return ExitCode.OUT_OF_TIME
    return next((code for family, code in FAMILIES if isinstance(error, family)), ExitCode.UNREACHABLE)
