"""`mecapy tasks`, `task show`, `cancel`, `retry`."""

from collections.abc import Iterator
from typing import Annotated

import typer

from mecapy_platform.cli.console import ago, print_json, print_pairs, print_table, say, seconds_text
from mecapy_platform.cli.progress import LiveLine, describe
from mecapy_platform.cli.run import LOOK_SECONDS, SiOption, finish
from mecapy_platform.cli.session import JsonOption, OrgOption, UrlOption, connect
from mecapy_platform.client.tasks import Attempt, Task, TaskUsage
from mecapy_platform.core.states import TaskState

task_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Look at one task.")

TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="Id of the task.")]


@task_app.callback()
def task_group() -> None:
    """Look at one task."""


def tasks(
    state: Annotated[TaskState | None, typer.Option(help="Only tasks in this state.")] = None,
    package: Annotated[str | None, typer.Option(help="Only tasks of this package.")] = None,
    function: Annotated[str | None, typer.Option(help="Only tasks of this function.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many.")] = 20,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List tasks, newest first."""
    filters = {"state": state.value if state else None, "package": package, "function": function}
    with connect(url, org) as client:
        found = list(client.tasks.each(filters, limit=limit))
    if as_json:
        print_json([task.raw for task in found])
    elif found:
        print_table(("task", "state", "function", "lane", "submitted", "remark"), (_row(task) for task in found))
    else:
        say("No tasks. Submit one: mecapy run package:function name=value")


@task_app.command()
def show(task_id: TaskArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show a task: why it waits or how it ended, attempts, usage, provenance."""
    with connect(url, org) as client:
        task = client.tasks.get(task_id)
    if as_json:
        print_json(task.raw)
        return
    print_pairs(_facts(task))
    if task.attempts:
        typer.echo()
        print_table(
            ("attempt", "state", "where", "started", "took", "remark"),
            (_attempt_row(attempt) for attempt in task.attempts),
        )


def cancel(task_id: TaskArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Cancel a queued or running task."""
    with connect(url, org) as client:
        task = client.tasks.cancel(task_id)
    if as_json:
        print_json(task.raw)
    elif task.state is TaskState.CANCELLED or not task.state.is_final:
        say(f"{task.id} {'cancelled' if task.state.is_final else 'will be cancelled within seconds'}")
    else:
        say(f"{task.id} had already ended: {task.state.value}")


def retry(
    task_id: TaskArgument,
    wait: Annotated[bool, typer.Option(help="Wait for the new task and print its result.")] = False,
    plain_si: SiOption = False,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run an ended task again, with the same version and inputs."""
    with connect(url, org) as client:
        task = client.tasks.retry(task_id)
        if wait:
            with LiveLine(is_quiet=as_json) as line:
                task = client.tasks.wait(task.id, step_seconds=LOOK_SECONDS, on_look=line.look, on_break=line.broken)
            finish(client, task, None, as_json=as_json, plain_si=plain_si)
        elif as_json:
            print_json(task.raw)
        else:
            say(f"{task.id} (again what {task_id} ran)")


def _row(task: Task) -> tuple[str, ...]:
    remark = task.error.message if task.error else describe(task)
    remark = "" if remark == task.state.value else remark
    name = task.name if task.name != f"{task.package.name}:{task.function}" else None
    shown = ": ".join(part for part in (name, remark) if part)
    return (task.id, task.state.value, f"{task.package}:{task.function}", task.lane or "", ago(task.created_at), shown)


def _attempt_row(attempt: Attempt) -> tuple[str, ...]:
    took = (attempt.ended_at - attempt.started_at).total_seconds() if attempt.ended_at and attempt.started_at else None
    where = " ".join(part for part in (attempt.node, attempt.backend) if part)
    remark = f"{attempt.error.code}: {attempt.error.message}" if attempt.error else ""
    return (str(attempt.number), attempt.state, where, ago(attempt.started_at), seconds_text(took), remark)


def _facts(task: Task) -> Iterator[tuple[str, str]]:
    yield "task", task.id
    yield "name", task.name or ""
    yield "state", task.state.value + (" (parked: it will not be tried again)" if task.parked else "")
    if task.state is TaskState.QUEUED:
        yield "waits", f"{task.waiting.message} ({task.waiting.code})" if task.waiting else "for a free worker"
    if task.cancel_requested_at and not task.state.is_final:
        yield "cancel", f"asked {ago(task.cancel_requested_at)}"
    if task.error:
        yield "error", f"{task.error.message} ({task.error.code})"
    yield "function", f"{task.package}:{task.function} {task.package.version}"
    yield "lane", f"{task.lane or ''}, priority {task.priority}" if task.priority is not None else task.lane or ""
    yield "progress", describe(task) if task.state is TaskState.RUNNING and task.progress else ""
    for label, moment in (("submitted", task.created_at), ("started", task.started_at), ("ended", task.completed_at)):
        yield label, f"{moment:%Y-%m-%d %H:%M:%S %Z} ({ago(moment)})" if moment else ""
    yield "used", _usage(task.usage)
    yield "limits", ", ".join(f"{name} {value}" for name, value in (task.limits or {}).items())
    yield "retry of", task.retry_of or ""
    for name, value in (task.provenance or {}).items():
        yield name.replace("_", " "), str(value) if value is not None else ""


def _usage(usage: TaskUsage | None) -> str:
    if usage is None:
        return ""
    memory = f"{usage.peak_memory_mb:.0f} MiB at most" if usage.peak_memory_mb is not None else ""
    parts = (("wall", seconds_text(usage.wall_seconds)), ("CPU", seconds_text(usage.cpu_seconds)), ("memory", memory))
    return ", ".join(f"{name} {text}" for name, text in parts if text)
