"""Judges what tenants' code and packages wrote. What is large is read by a bounded call: nobody knows its cost.

docs/decisions/0015 says why. A text that takes too long or too much memory is its author's error.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mecapy_platform.bounded.calls import BoundedCalls, Bounds
from mecapy_platform.bounded.frames import Bound, BoundError
from mecapy_platform.bounded.template import Called
from mecapy_platform.core import testcases
from mecapy_platform.core.errors import (
    InvalidInputError,
    MalformedError,
    MecapyError,
    Problem,
    TooLargeError,
    UnavailableError,
)
from mecapy_platform.core.testcases import TestCase
from mecapy_platform.core.values import Ports, check_outputs

HERE = "mecapy_platform.worker.judging"
SMALL_BYTES = 64 << 10  # judged where it arrives
FAMILIES = {family.__name__: family for family in (InvalidInputError, MalformedError, TooLargeError)}


@dataclass(frozen=True)
class Judged:
    """A result that fits its ports: the JSON to be stored, and its values where they were read here."""

    text: bytes
    values: Mapping[str, Any] | None = None

    def read(self) -> dict[str, Any]:
        """The values. Of a large result they are many: keep the text where that will do."""
        values: dict[str, Any] = json.loads(self.text) if self.values is None else dict(self.values)
        return values


class Judge:
    """One for a worker process."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._calls = BoundedCalls(HERE)

    def outputs(self, ports: Ports, text: bytes, limit_bytes: int, *, units: str) -> Judged:
        """As core.values.check_outputs, whose errors it raises too, and "result_too_complex"."""
        if len(text) <= SMALL_BYTES or len(text) > limit_bytes:
            values = check_outputs(ports, text, limit_bytes, units=units)
            return Judged(json.dumps(values).encode(), values)
        order = {"ports": ports, "limit_bytes": limit_bytes, "units": units}
        return Judged(self._ask("outputs_there", order, text, "result_too_complex", "The handler's result"))

    def testcases(self, text: bytes, file: str) -> list[TestCase]:
        """As core.testcases.parse_testcases, whose errors it raises too, and "testcases_too_complex"."""
        if SMALL_BYTES < len(text) <= testcases.MAX_BYTES:
            self._ask("testcases_there", {"file": file}, text, "testcases_too_complex", file)
        return testcases.parse_testcases(text, file=file)

    def compare(self, case: TestCase, judged: Judged) -> list[str]:
        """What differs from what the case expects."""
        if judged.values is not None:
            return testcases.compare(case.expected or {}, judged.values, case.tolerance)
        order = {"expected": case.expected or {}, "tolerance": case.tolerance}
        answer = self._ask("compare_there", order, judged.text, "result_too_complex", "The handler's result")
        differences: list[str] = json.loads(answer)
        return differences

    def close(self) -> None:
        self._calls.close()

    def _ask(self, name: str, order: Mapping[str, Any], text: bytes, code: str, what: str) -> bytes:
        argument = json.dumps(order, default=dict).encode() + b"\n" + text
        try:
            answer = self._calls.call(f"{HERE}:{name}", argument, self._bounds)
        except OSError as error:
            raise UnavailableError(
                "judge_unavailable", "No process could be started to read a large result."
            ) from error
        except BoundError as error:
            if error.bound is Bound.LOST:
                raise UnavailableError("judge_unavailable", "The process that read a large result was lost.") from error
            seconds, memory_mb = self._bounds.seconds, self._bounds.memory_bytes >> 20
            message = (
                f"{what} takes more than {seconds:g} s or {memory_mb} MiB of memory to read; write fewer values, or a "
                "file output instead."
            )
            raise InvalidInputError(code, message) from error
        if answer[:1] == b"-":
            raise _error(json.loads(answer[1:]))
        return answer[1:]


def outputs_there(called: Called) -> None:
    """In the bounded call."""
    order, text = _order(called)
    try:
        values = check_outputs(order["ports"], text, order["limit_bytes"], units=order["units"])
    except tuple(FAMILIES.values()) as error:
        called.send(_refusal(error))
        return
    del text
    called.send(b"+" + json.dumps(values).encode())


def testcases_there(called: Called) -> None:
    """In the bounded call."""
    order, text = _order(called)
    try:
        testcases.parse_testcases(text, file=order["file"])
    except tuple(FAMILIES.values()) as error:
        called.send(_refusal(error))
        return
    called.send(b"+")


def compare_there(called: Called) -> None:
    """In the bounded call."""
    order, text = _order(called)
    differences = testcases.compare(order["expected"], json.loads(text), order["tolerance"])
    called.send(b"+" + json.dumps(differences[: testcases.MAX_DIFFERENCES]).encode())


def _order(called: Called) -> tuple[dict[str, Any], bytes]:
    head, _, text = called.argument.partition(b"\n")
    return json.loads(head), text


def _refusal(error: MecapyError) -> bytes:
    said = {
        "family": type(error).__name__,
        "code": error.code,
        "message": error.message,
        "problems": [problem.as_dict() for problem in error.problems],
    }
    return b"-" + json.dumps(said).encode()


def _error(said: Mapping[str, Any]) -> MecapyError:
    problems = [Problem(**problem) for problem in said["problems"]]
    return FAMILIES[said["family"]](said["code"], said["message"], problems=problems)
