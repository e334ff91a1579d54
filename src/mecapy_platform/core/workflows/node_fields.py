"""Reads the fields of one node or edge, as JSON gives them. What is wrong is collected; reading goes on."""

import math
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from mecapy_platform.core.json_text import bad_text
from mecapy_platform.core.workflows.graph import Body
from mecapy_platform.core.workflows.problems import GraphProblem

MAX_NAME = 200
MAX_TEXT = 4_000  # of an expression or a message
MAX_NAMES = 500  # in one list of a node


class Fields:
    """One JSON object. A field that is null counts as absent, as in the published document."""

    def __init__(
        self,
        given: Mapping[str, Any],
        problems: list[GraphProblem],
        *,
        node: str | None = None,
        edge: int | None = None,
        prefix: str = "",
    ) -> None:
        self._given = given
        self._problems = problems
        self._node = node
        self._edge = edge
        self._prefix = prefix

    def has(self, name: str) -> bool:
        return self._given.get(name) is not None

    def raw(self, name: str) -> Any:
        return self._given.get(name)

    def problem(self, name: str, code: str, message: str) -> None:
        field = f"{self._prefix}{name}"
        self._problems.append(GraphProblem(code, message, node=self._node, field=field, edge=self._edge))

    def within(self, name: str, given: Mapping[str, Any]) -> "Fields":
        """The fields of an object that stands in field `name`."""
        return Fields(given, self._problems, node=self._node, edge=self._edge, prefix=f"{self._prefix}{name}.")

    def only(self, allowed: Collection[str], what: str) -> None:
        for name, value in self._given.items():
            if name not in allowed and value is not None:
                shown = ", ".join(sorted(allowed))
                self.problem(
                    str(name)[:80], "unknown_field", f"{what} has no field {str(name)[:80]!r}; it has {shown}."
                )

    def text(self, name: str, *, needed: bool = True, most: int = MAX_NAME) -> str | None:
        value = self._given.get(name)
        if value is None and not needed:
            return None
        if not isinstance(value, str) or not value.strip():
            self.problem(name, "missing_field" if value is None else "wrong_field", f"{name} must be a text.")
            return None
        why = bad_text(value) if len(value) <= most else f"is longer than {most} characters"
        if why is not None:
            self.problem(name, "wrong_field", f"{name}: {why}.")
            return None
        return value

    def choice(self, name: str, allowed: Collection[str], default: str | None) -> str | None:
        value = self._given.get(name)
        if value is None:
            if default is None:
                self.problem(name, "missing_field", f"{name} must be one of {', '.join(allowed)}.")
            return default
        if value not in allowed:
            self.problem(name, "wrong_field", f"{name} must be one of {', '.join(allowed)}, not {str(value)[:80]!r}.")
            return default
        return str(value)

    def number(self, name: str, least: float, most: float, default: float | None) -> float | None:
        """A finite number within limits; `default` where it is absent or wrong."""
        value = self._given.get(name)
        if value is None:
            return default
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not least <= value <= most:
            self.problem(name, "wrong_field", f"{name} must be a number from {least:g} to {most:g}.")
            return default
        return float(value)

    def whole(self, name: str, least: int, most: int, default: int | None) -> int | None:
        value = self._given.get(name)
        if value is None:
            if default is None:
                self.problem(name, "missing_field", f"{name} must be a whole number from {least} to {most}.")
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.problem(name, "wrong_field", f"{name} must be a whole number from {least} to {most}.")
            return default
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._given.get(name)
        if value is not None and not isinstance(value, bool):
            self.problem(name, "wrong_field", f"{name} must be true or false.")
        return value if isinstance(value, bool) else default

    def names(self, name: str, *, needed: bool = False) -> tuple[str, ...]:
        """A list of different names."""
        value = self._given.get(name)
        if value is None and not needed:
            return ()
        found: list[Any] = list(value) if isinstance(value, list | tuple) else [None]
        is_right = all(isinstance(item, str) and item for item in found) and len(set(found)) == len(found)
        if not is_right or len(found) > MAX_NAMES or (needed and not found):
            self.problem(
                name,
                "missing_field" if value is None else "wrong_field",
                f"{name} must be a list of {'1' if needed else '0'} to {MAX_NAMES} different names.",
            )
            return ()
        return tuple(found)

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object; empty where it is absent."""
        value = self._given.get(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or len(value) > MAX_NAMES or not all(isinstance(key, str) for key in value):
            self.problem(name, "wrong_field", f"{name} must be an object with at most {MAX_NAMES} fields.")
            return {}
        return value

    def identifier(self, name: str, code: str, what: str) -> UUID | None:
        """The id of a version. One that is no UUID is as unknown as one that no row has."""
        value = self._given.get(name)
        if value is None:
            self.problem(name, "missing_field", f"{name} must be the id of {what}.")
            return None
        try:
            return UUID(value)
        except (ValueError, AttributeError, TypeError):
            self.problem(name, code, f"{str(value)[:80]!r} is the id of no {what}.")
            return None

    def body(self, name: str, *, needed: bool = True) -> Body | None:
        """{function_version_id} or {workflow_version_id}."""
        value = self._given.get(name)
        if value is None and not needed:
            return None
        if not isinstance(value, Mapping) or len([key for key in BODY_FIELDS if value.get(key) is not None]) != 1:
            message = f"{name} must be an object with a function_version_id or a workflow_version_id."
            self.problem(name, "missing_field" if value is None else "wrong_field", message)
            return Body()
        inner = self.within(name, value)
        inner.only(BODY_FIELDS, "A body")
        if inner.has("function_version_id"):
            return Body(function_version_id=inner.function_version())
        return Body(workflow_version_id=inner.workflow_version())

    def function_version(self) -> UUID | None:
        return self.identifier("function_version_id", "unknown_function_version", "function version")

    def workflow_version(self) -> UUID | None:
        return self.identifier("workflow_version_id", "unknown_workflow_version", "workflow version")


BODY_FIELDS = ("function_version_id", "workflow_version_id")
