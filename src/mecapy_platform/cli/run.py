"""`mecapy run`: submit one task, wait with a live line, print the result with units."""

import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from mecapy_platform.cli.arguments import Arguments, Target, parse_arguments, parse_target
from mecapy_platform.cli.console import hint, print_json, print_table, say, seconds_text, size_text
from mecapy_platform.cli.exits import ExitCode
from mecapy_platform.cli.interrupts import Interrupts
from mecapy_platform.cli.lazy import resolve
from mecapy_platform.cli.progress import LiveLine
from mecapy_platform.cli.results import rows
from mecapy_platform.cli.session import JsonOption, OrgOption, UrlOption, connect
from mecapy_platform.client.catalog import Catalog
from mecapy_platform.client.client import Client
from mecapy_platform.client.packages import Function
from mecapy_platform.client.tasks import Submission, Task, TaskResult
from mecapy_platform.core.errors import InvalidInputError, MecapyError
from mecapy_platform.core.states import TaskState

LOOK_SECONDS = 1.0
READING = "mecapy_platform.cli.reading"  # knows the types of ports: imported when there is something to read
SiOption = Annotated[bool, typer.Option("--si", help="Show plain SI numbers, 562500000 Pa in place of 562.5 MPa.")]


def run(
    target: Annotated[
        str, typer.Argument(metavar="PACKAGE:FUNCTION", help="bolts:size, owner/bolts:size or bolts@1.2.0:size")
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="diameter='12 mm' n=4 part=@file.step")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="The same, as an option.")
    ] = None,
    inputs: Annotated[Path | None, typer.Option(metavar="FILE", help="A JSON object of inputs.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Download the task's files here.")
    ] = None,
    detach: Annotated[bool, typer.Option(help="Submit, print the id, do not wait.")] = False,
    wait: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Wait at most this long; the task goes on.")
    ] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="0-9, 9 first, inside your organization.")] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Time limit of the task itself.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name of your own for the task.")] = None,
    plain_si: SiOption = False,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a function and wait for its result.

    A value is read by the type of its port: 8.8 is text for a String, a number for a Float; units are converted
    ("12 mm", "12,5 mm", 20kN). Lists and structs are JSON ([1,2,3]) or parts with a semicolon ("1; 2,5 mm").
    """
    parsed = parse_target(target)
    given = parse_arguments([*(arguments or []), *(settings or [])], inputs)
    with connect(url, org) as client:
        ports = ports_of(client, parsed, given)
        values = resolve(f"{READING}:read_arguments")(given, ports)
        submission = Submission(
            parsed.package,
            parsed.function,
            values.inputs,
            _upload(client, parsed.package, parsed.function, values),
            parsed.version,
            priority,
            timeout,
            name,
        )
        task = _submit(client, submission, ports)
        if detach:
            print_json(task.raw) if as_json else say(task.id)
            hint(f"watch: mecapy logs -f {task.id}   cancel: mecapy cancel {task.id}")
            return
        finish(client, _wait(client, task, wait, is_quiet=as_json), output, as_json=as_json, plain_si=plain_si)


def finish(client: Client, task: Task, output: Path | None, *, as_json: bool, plain_si: bool = False) -> None:
    """Print the end of a task, download its files, leave with the exit code of its state."""
    result = client.tasks.result(task.id)
    paths = client.artifacts.download_all(result.artifacts, output) if output else ()
    if as_json:
        print_json({**result.raw, "downloaded": [str(path) for path in paths]} if output else result.raw)
    else:
        _show(client, task, result, is_saved=output is not None, plain_si=plain_si)
        for path in paths:
            say(f"saved {path}")
    if task.state is not TaskState.COMPLETED:
        raise typer.Exit(ExitCode.OUT_OF_TIME if task.state is TaskState.TIMEOUT else ExitCode.FAILED)


def _upload(client: Client, package: str, function: str, values: Arguments) -> dict[str, str]:
    if not values.files:
        return {}
    package_id = client.packages.find(package).id
    return {
        port: client.uploads.send(package_id, function, port, path).upload_id for port, path in values.files.items()
    }


def ports_of(client: Client, target: Target, given: Arguments) -> Mapping[str, str]:
    """Types of the function's inputs; none where they cannot be had, which the submission then explains."""
    if not (given.inputs or given.texts or given.files):
        return {}
    try:
        package = client.packages.find(target.package)
    except MecapyError:
        return {}
    functions = [function for function in package.functions if function.name == target.function]
    return {port.name: port.type for function in functions for port in function.inputs}


def _submit(client: Client, submission: Submission, ports: Mapping[str, str]) -> Task:
    """Submit under a key of our own: Ctrl-C while the answer is on its way still tells how to find the task."""
    try:
        return client.tasks.submit(submission, idempotency_key=uuid.uuid4().hex, wait_seconds=LOOK_SECONDS)
    except InvalidInputError as error:
        raise resolve(f"{READING}:in_words_of_the_command_line")(error, ports) from error


def _wait(client: Client, task: Task, wait: float | None, *, is_quiet: bool) -> Task:
    """Wait for the end; Ctrl-C and the end of patience leave the task running and say so."""
    is_live = sys.stderr.isatty() and not is_quiet
    goes_on = (
        f"Task {task.id} goes on. Watch: mecapy logs -f {task.id}   Look: mecapy task show {task.id}   Cancel: "
        f"mecapy cancel {task.id}"
    )
    try:
        with Interrupts() as interrupts, LiveLine(is_quiet=is_quiet) as line:

            def look(seen: Task) -> None:
                interrupts.check()
                line.look(seen)

            look(task)
            if task.state.is_final:
                return task
            return client.tasks.wait(
                task.id,
                timeout_seconds=wait,
                step_seconds=LOOK_SECONDS if is_live else 20.0,
                on_look=look,
                on_break=line.broken,
            )
    except KeyboardInterrupt:
        hint(f"\n{goes_on}")
        raise typer.Exit(ExitCode.OUT_OF_TIME) from None
    except MecapyError:
        hint(goes_on)
        raise


def _show(client: Client, task: Task, result: TaskResult, *, is_saved: bool, plain_si: bool) -> None:
    if task.state is TaskState.COMPLETED:
        function, catalog = _types(client, task)
        print_table(("output", "value", "unit"), rows(result.result or {}, function, catalog, plain_si=plain_si))
    else:
        error = result.error or task.error
        hint(f"{task.state.value}: {error.message if error else 'no reason given'}")
        hint(f"See what it printed: mecapy logs {task.id}   Look again: mecapy task show {task.id}")
        if task.state is TaskState.TIMEOUT:
            hint("It needs more time: run it again with --timeout SECONDS, or raise `timeout` in the manifest.")
    for item in result.artifacts:
        say(f"{item.kind} {item.name}  {size_text(item.size_bytes)}{'  (partial)' if item.partial else ''}")
    if result.artifacts and not is_saved:
        hint(f"Get the files: mecapy download {task.id} -o DIR")
    usage = result.usage
    memory = f", peak memory {usage.peak_memory_mb:.0f} MiB" if usage and usage.peak_memory_mb else ""
    hint(f"task {task.id} {task.state.value}" + (f" in {seconds_text(usage.wall_seconds)}{memory}" if usage else ""))


def _types(client: Client, task: Task) -> tuple[Function | None, Catalog | None]:
    """What units need; a result is shown without them rather than not at all."""
    try:
        function = client.packages.function_version(task.function_id) if task.function_id else None
        return function, client.catalog.load()
    except MecapyError as error:
        hint(f"(units are not shown: {error.message})")
        return None, None
