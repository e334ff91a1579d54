"""The calls that a task carries, as its worker sees them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from mecapy_platform.core.units import UnitSystem
from mecapy_platform.core.values import check_inputs
from mecapy_platform.services.claims import Claim

SHARED_INPUT_CHARACTERS = 60_000  # of in/data.json; a call with more has a run of its own


@dataclass(frozen=True)
class CarriedCall:
    """One call. `claim`: as if it had been claimed alone, under its own id. `bindings`: port -> (position, port)."""

    id: UUID
    position: int
    claim: Claim
    bindings: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return json.dumps(self.claim.inputs)

    @property
    def can_share(self) -> bool:
        """Its inputs fit into a message, and it has no files."""
        claim = self.claim
        return not claim.files and claim.inputs_key is None and len(self.text) <= SHARED_INPUT_CHARACTERS

    def bound(self, results: Mapping[int, Mapping[str, Any]]) -> "CarriedCall":
        """With the outputs of earlier calls as inputs, checked as a task's are.

        Raises
        ------
        InvalidInputError
            A value does not fit its port.
        """
        if not self.bindings:
            return self
        inputs = dict(self.claim.inputs or {})
        for port, (position, output) in self.bindings.items():
            if output in results.get(position, {}):
                inputs[port] = results[position][output]
        if self.claim.input_ports is not None:
            units = self.claim.options.get("units") or UnitSystem.SI
            inputs = check_inputs(self.claim.input_ports, inputs, self.claim.files, units=units)
        return replace(self, claim=replace(self.claim, inputs=inputs), bindings={})

    def can_be_bound(self, results: Mapping[int, Mapping[str, Any]]) -> bool:
        """Whether all that it waits for is at hand here; an earlier attempt may have had it."""
        return all(position in results for position, _port in self.bindings.values())


def carried_calls(claim: Claim) -> Sequence[CarriedCall]:
    """Those of a claim that have not ended, in their order."""
    return [_carried(claim, call) for call in claim.calls or ()]


def _carried(claim: Claim, call: Mapping[str, Any]) -> CarriedCall:
    facts, call_id = call["facts"], UUID(str(call["id"]))
    bindings = {port: (int(from_["position"]), str(from_["port"])) for port, from_ in (call["bindings"] or {}).items()}
    size = call["inputs_size_bytes"]
    alone = replace(
        claim,
        task_id=call_id,
        calls=(),  # it carries none, and runs where its carrier does
        inputs=call["inputs"],
        inputs_key=call["inputs_key"],
        inputs_size_bytes=None if size is None else int(size),
        inputs_sha256=call["inputs_sha256"],
        files=call["files"] or {},
        **{
            name: facts[name]
            for name in ("function", "handler", "entrypoint", "input_ports", "output_ports", "options")
        },
    )
    return CarriedCall(call_id, int(call["position"]), alone, bindings)
