"""Stores what a finished run left in out/, and checks that every promised file is there."""

import io

from mecapy_platform.core.errors import InvalidInputError, Problem, TooLargeError
from mecapy_platform.core.ids import new_id
from mecapy_platform.core.types import file_extensions
from mecapy_platform.sandbox.base import Collected, OutputFile, Outputs
from mecapy_platform.services.claims import Claim
from mecapy_platform.services.finish import StoredFile
from mecapy_platform.storage import keys
from mecapy_platform.storage.base import Stored
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.judging import Judged


def check_required(claim: Claim, collected: Collected) -> None:
    """Every required File output must be there, with an extension that its port allows."""
    found = {port_of(file): file for file in collected.files if file.kind == "file"}
    problems = []
    for port, spec in (claim.output_ports or {}).items():
        kind = str(spec["type"])
        if not kind.startswith("File"):
            continue
        if port not in found:
            if spec.get("required", True):
                problems.append(Problem(port, "missing_file", f"out/files/{port}.* was not written."))
            continue
        allowed = file_extensions(kind)
        extension = found[port].name.rpartition(".")[2].lower() if "." in found[port].name else ""
        if allowed and extension not in allowed:
            problems.append(
                Problem(
                    port,
                    "wrong_extension",
                    f"{found[port].name} should end in {', '.join('.' + item for item in sorted(allowed))}.",
                )
            )
    if problems:
        raise InvalidInputError("outputs_invalid", "The outputs do not fit the declared ports.", problems=problems)


def port_of(file: OutputFile) -> str:
    return file.name.partition(".")[0]


def store(
    context: WorkerContext, claim: Claim, run: Outputs, collected: Collected, *, is_partial: bool
) -> list[StoredFile]:
    """Put each collected file into storage under the attempt's own prefix."""
    stored = []
    for file in collected.files:
        name = port_of(file) if file.kind == "file" else file.name
        key = keys.output_key(claim.organization_id, claim.task_id, claim.number, file.kind, file.name)
        with run.open_output(file) as source:
            done = context.storage.put(key, source, limit_bytes=file.size_bytes)
        filename = file.name.rpartition("/")[2]
        stored.append(StoredFile(file.kind, name, filename, key, done.size_bytes, done.sha256, is_partial))
    return stored


def store_large_result(context: WorkerContext, claim: Claim, judged: Judged) -> Stored | None:
    """Where a result lies that is too large for its row; None for one that belongs there."""
    text = judged.text
    if len(text) > context.settings.result_bytes:
        limit = context.settings.result_bytes >> 20
        raise TooLargeError(
            "result_too_large",
            f"The result has {len(text) >> 20} MiB, the limit is {limit} MiB; write a file output instead.",
        )
    if len(text) <= context.settings.row_value_bytes:
        return None
    key = keys.result_key(claim.organization_id, claim.task_id, claim.number, new_id())
    return context.storage.put(key, io.BytesIO(text))
