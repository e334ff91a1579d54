"""`mecapy workflow run`, `watch`, `runs` and what can be done to a run; `mecapy approvals`."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mecapy_platform.cli.arguments import parse_arguments, parse_value
from mecapy_platform.cli.console import ago, hint, print_json, print_table, say, seconds_text
from mecapy_platform.cli.exits import ExitCode
from mecapy_platform.cli.lazy import resolve
from mecapy_platform.cli.session import JsonOption, OrgOption, UrlOption, connect
from mecapy_platform.cli.workflow import workflow_app
from mecapy_platform.client.client import Client
from mecapy_platform.client.runs import Run, RunNode
from mecapy_platform.core.errors import ConfigurationError, InvalidInputError

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run; the newest when it is `last`.")]
MARKS = {
    "pending": "·",
    "waiting": "?",
    "running": ">",
    "completed": "+",
    "failed": "x",
    "cancelled": "-",
    "skipped": "~",
}
SHOWN = 60  # nodes in the live tree; a larger graph shows what runs and what failed

approvals_app = typer.Typer(no_args_is_help=True, add_completion=False, help="What waits for a person in workflows.")


@workflow_app.command("run")
def run(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW[@N]", help="Slug or id; its newest version.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Values of the input nodes: d='12 mm'")
    ] = None,
    inputs: Annotated[Path | None, typer.Option(metavar="FILE", help="A JSON object of inputs.")] = None,
    policy: Annotated[str | None, typer.Option(help="fail_fast (usual) or continue.")] = None,
    deadline: Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="For the whole run.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="0-9, 9 first.")] = None,
    reuse: Annotated[str | None, typer.Option(help="Take identical results: off, own or organization.")] = None,
    detach: Annotated[bool, typer.Option(help="Start, print the id, do not wait.")] = False,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a run of a workflow, and watch it to its end. It goes on by itself when you stop watching."""
    given = parse_arguments(arguments or [], inputs)
    values = {**given.inputs, **{name: parse_value(text) for name, text in given.texts.items()}}
    slug, _, number = workflow.partition("@")
    if number and not number.isdigit():
        raise ConfigurationError("target", f"'{workflow}' does not name a version. It looks like {slug}@3.")
    options: dict[str, Any] = {"version": int(number) if number else None, "failure_policy": policy}
    with connect(url, org) as client:
        values |= _uploaded(client, slug, int(number) if number else None, given.files)
        started = client.runs.start(
            slug, values, **options, deadline_seconds=deadline or None, priority=priority, reuse=reuse
        )
        if detach:
            print_json(started.raw) if as_json else say(started.id)
            hint(f"watch: mecapy workflow watch {started.id}")
            return
        _finish(_watch(client, started.id, is_quiet=as_json), as_json=as_json)


@workflow_app.command("watch")
def watch(run_id: RunArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Watch a run to its end: a live tree of its nodes. Ctrl-C leaves it running."""
    with connect(url, org) as client:
        _finish(_watch(client, _id(client, run_id), is_quiet=as_json), as_json=as_json)


@workflow_app.command("runs")
def list_runs(
    state: Annotated[str | None, typer.Option(help="Only runs in this state.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=200, help="How many.")] = 20,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first."""
    with connect(url, org) as client:
        found = client.runs.recent(limit, state=state)
    if as_json:
        print_json([item.raw for item in found])
        return
    rows = ((item.id, item.workflow, item.state, _took(item), ago(item.created_at)) for item in found)
    print_table(("run", "workflow", "state", "took", "started"), rows)


@workflow_app.command("nodes")
def show_run(run_id: RunArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show the nodes of a run: state, time, and what failed and why."""
    with connect(url, org) as client:
        found = list(client.runs.nodes(_id(client, run_id)))
    if as_json:
        print_json([node.raw for node in found])
        return
    print_table(("", "node", "kind", "state", "took", "task or run", "message"), map(_row, found))


@workflow_app.command("cancel")
def cancel(run_id: RunArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Cancel a run."""
    with connect(url, org) as client:
        _say(client.runs.cancel(_id(client, run_id)), as_json=as_json)


@workflow_app.command("pause")
def pause(run_id: RunArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Start nothing new; what runs goes on to its end."""
    with connect(url, org) as client:
        _say(client.runs.pause(_id(client, run_id)), as_json=as_json)


@workflow_app.command("resume")
def resume(run_id: RunArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Let a paused run go on."""
    with connect(url, org) as client:
        _say(client.runs.resume(_id(client, run_id)), as_json=as_json)


@workflow_app.command("retry")
def retry(run_id: RunArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Go on with a run that failed or was cancelled: what has ended well stays."""
    with connect(url, org) as client:
        _say(client.runs.retry(_id(client, run_id)), as_json=as_json)


@approvals_app.callback()
def approvals_group() -> None:
    """What waits for a person in workflows."""


@approvals_app.command("list")
def list_approvals(org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """List what waits for a decision, oldest first."""
    with connect(url, org) as client:
        found = client.runs.approvals()
    if as_json:
        print_json(found)
        return
    rows = (
        (item["run_id"], item["key"], item["workflow_slug"], item["role"] or "user", item["message"] or "")
        for item in found
    )
    print_table(("run", "node", "workflow", "role", "message"), rows)
    if found:
        hint("decide: mecapy approvals approve RUN NODE   or: mecapy approvals reject RUN NODE --comment WHY")


@approvals_app.command()
def approve(
    run_id: RunArgument,
    key: Annotated[str, typer.Argument(metavar="NODE", help="The node that waits.")],
    comment: Annotated[str | None, typer.Option(help="Why; kept with the run.")] = None,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a run go on behind an approval."""
    with connect(url, org) as client:
        _say(client.runs.decide(_id(client, run_id), key, "approve", comment), as_json=as_json)


@approvals_app.command()
def reject(
    run_id: RunArgument,
    key: Annotated[str, typer.Argument(metavar="NODE", help="The node that waits.")],
    comment: Annotated[str | None, typer.Option(help="Why; kept with the run.")] = None,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse an approval: its node fails."""
    with connect(url, org) as client:
        _say(client.runs.decide(_id(client, run_id), key, "reject", comment), as_json=as_json)


def _uploaded(client: Client, slug: str, number: int | None, files: Mapping[str, Path]) -> dict[str, str]:
    """Upload ids of local files by input node: each goes to a function that its node feeds."""
    if not files:
        return {}
    workflow = client.workflows.get(slug)
    version = client.workflows.version(workflow.id, number) if number else None
    places = takers(client.workflows.document(workflow, version).graph)
    if missing := [name for name in files if name not in places]:
        message = f"{missing[0]} feeds no function of {slug} that could take a file; name the id of an upload instead."
        raise InvalidInputError("arguments", message)
    sent = {}
    for name, path in files.items():
        package, function, port = places[name]
        sent[name] = client.uploads.send(client.packages.find(package).id, function, port, path).upload_id
    return sent


def takers(graph: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    """By node: package, function and port that it feeds, the first where it feeds several."""
    named = {node["node_key"]: str(node.get("function_version_id") or "") for node in graph.get("nodes", ())}
    found: dict[str, tuple[str, str, str]] = {}
    for edge in graph.get("edges", ()):
        package, _, function = named.get(edge["target_node_key"], "").partition(":")
        if function:
            place = (package, function.partition("@")[0], edge["target_port"])
            found.setdefault(edge["source_node_key"], place)
    return found


def _watch(client: Client, run_id: str, *, is_quiet: bool) -> Run:
    try:
        with _tree(client, is_quiet=is_quiet) as show:
            return client.runs.wait(run_id, step_seconds=2.0, on_look=show)
    except KeyboardInterrupt:
        hint(f"\nThe run goes on. Watch: mecapy workflow watch {run_id}   Cancel: mecapy workflow cancel {run_id}")
        raise typer.Exit(ExitCode.OUT_OF_TIME) from None


@contextmanager
def _tree(client: Client, *, is_quiet: bool) -> Iterator[Any]:
    """On a terminal a tree that changes; elsewhere a line when a node changes its state. On stderr."""
    is_live = not is_quiet and sys.stderr.isatty()
    seen: dict[str, str] = {}
    live = resolve("mecapy_platform.cli.tables:TerminalTree")() if is_live else None
    if live:
        live.start()

    def show(found: Run) -> None:
        if is_quiet:
            return
        nodes = list(client.runs.nodes(found.id, outputs=False))
        if live:
            live.update(_lines(found, nodes))
            return
        for node in nodes:
            if seen.get(node.key, "pending") != node.state:
                hint(f"{MARKS.get(node.state, ' ')} {node.key} {node.state}{_message(node)}")
            seen[node.key] = node.state

    try:
        yield show
    finally:
        if live:
            live.stop()


def _lines(run: Run, nodes: list[RunNode]) -> list[str]:
    told = nodes if len(nodes) <= SHOWN else [node for node in nodes if node.state in {"running", "waiting", "failed"}]
    counts = ", ".join(f"{number} {state}" for state, number in run.nodes.items())
    head = f"{run.workflow} {run.state}: {counts}"
    rows = [
        f"  {MARKS.get(node.state, ' ')} {node.key}  {node.state} {_node_took(node)}{_message(node)}" for node in told
    ]
    return [head, *rows[:SHOWN]]


def _finish(run: Run, *, as_json: bool) -> None:
    if as_json:
        print_json(run.raw)
    else:
        rows = (
            (key, port, json.dumps(value) if isinstance(value, dict | list) else str(value))
            for key, outputs in (run.outputs or {}).items()
            for port, value in (outputs or {}).items()
        )
        print_table(("node", "output", "value"), rows)
        if run.error:
            where = f"{run.first_failed_node_key}: " if run.first_failed_node_key else ""
            hint(f"{run.state}: {where}{run.error.message}")
        hint(f"run {run.id} {run.state}{' in ' + _took(run) if _took(run) else ''}")
        hint(
            f"nodes: mecapy workflow nodes {run.id}"
            + ("" if run.state == "completed" else f"   again: mecapy workflow retry {run.id}")
        )
    if run.state != "completed":
        raise typer.Exit(ExitCode.OUT_OF_TIME if run.state == "timeout" else ExitCode.FAILED)


def _row(node: RunNode) -> tuple[str, ...]:
    made = node.task_id or node.child_run_id or (f"{node.items} items" if node.items else "")
    message = node.error.message if node.error else ""
    return (MARKS.get(node.state, ""), node.key, node.kind, node.state, _node_took(node), made, message)


def _message(node: RunNode) -> str:
    return f": {node.error.message}" if node.error else ""


def _node_took(node: RunNode) -> str:
    if node.started_at is None or node.completed_at is None:
        return ""
    return seconds_text((node.completed_at - node.started_at).total_seconds())


def _took(run: Run) -> str:
    if run.started_at is None or run.completed_at is None:
        return ""
    return seconds_text((run.completed_at - run.started_at).total_seconds())


def _say(run: Run, *, as_json: bool) -> None:
    print_json(run.raw) if as_json else say(f"run {run.id} of {run.workflow}: {run.state}")


def _id(client: Client, named: str) -> str:
    if named != "last":
        return named
    recent = client.runs.recent(1)
    if not recent:
        raise ConfigurationError("no_run", "There is no run yet. Start one: mecapy workflow run WORKFLOW NAME=VALUE")
    return recent[0].id
