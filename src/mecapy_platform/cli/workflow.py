"""`mecapy workflow`: graphs of calculations as YAML files, and what the platform has of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mecapy_platform.cli.console import hint, print_json, print_table, say
from mecapy_platform.cli.exits import ExitCode
from mecapy_platform.cli.session import JsonOption, OrgOption, UrlOption, connect
from mecapy_platform.client.client import Client
from mecapy_platform.client.workflow_files import Fault, Judged, faults_of_form, judged, read_file, refused, write_file
from mecapy_platform.client.workflows import Report, Workflow, WorkflowVersion
from mecapy_platform.core.errors import InvalidInputError, NotFoundError
from mecapy_platform.core.workflows.documents import (
    WorkflowDocument,
    are_same,
    as_text,
    differences,
)

workflow_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Workflows: graphs of calculations.")
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A workflow as YAML.")]
Given = Annotated[
    str, typer.Argument(metavar="WORKFLOW[@N]|FILE", help="A workflow of the platform, or one in a YAML file.")
]


@workflow_app.callback()
def workflow_group() -> None:
    """Workflows: graphs of calculations."""


@workflow_app.command("list")
def list_workflows(
    archived: Annotated[bool, typer.Option(help="Your archived ones too.")] = False,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the workflows that you may see, the last changed first."""
    with connect(url, org) as client:
        found = client.workflows.all(include_archived=archived)
    if as_json:
        print_json([workflow.raw for workflow in found])
        return
    print_table(("workflow", "name", "nodes", "visibility", "changed"), (_row(workflow) for workflow in found))
    if not found:
        hint("none yet. Write a YAML file, then: mecapy workflow import FILE")


@workflow_app.command()
def show(given: Given, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show a graph as text: what is given, then what can start step by step."""
    document, number = _document(given, org, url)
    if as_json:
        print_json({"workflow": document.slug, "version": number, "graph": document.graph})
    else:
        say(as_text(document, number).rstrip("\n"))


@workflow_app.command()
def export(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW[@N]", help="A workflow of the platform.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to; stdout without it.")
    ] = None,
    org: OrgOption = None,
    url: UrlOption = None,
) -> None:
    """Write a workflow as YAML. In a file that is there already, comments and what has not changed stay as they are."""
    with connect(url, org) as client:
        found, version = _version(client, workflow)
        document, text = client.workflows.document(found, version), client.workflows.text(found, version)
    if output is None:
        typer.echo(text, nl=False)  # YAML that was read: no control characters are in it
        return
    changed = write_file(output, document, text)
    hint(f"{output}: {document.slug} @{version.version}" + ("" if changed else ", unchanged"))


@workflow_app.command("import")
def import_file(file: FileArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Keep the graph of a file as the next version of its workflow; a workflow that is not there yet is made."""
    read = read_file(file)
    slug = read.document.slug
    with connect(url, org) as client:
        existing = _existing(client, slug) if slug else None
        found = judged(client.workflows, None if existing is None else existing.id, read)
        if found.faults:
            raise refused(found.faults)
        document = read.document
        if existing is None:
            existing = client.workflows.create(slug, document.name or slug, document.description)
        elif _is_newest(client, existing, document):
            _tell_saved(
                existing, existing.latest_version.version if existing.latest_version else 0, "unchanged", as_json
            )
            return
        saved = client.workflows.save(existing.id, found.graph, read.text)
    for warning in saved.warnings:
        hint(f"warning: {warning.get('message', '')}")
    _tell_saved(existing, saved.version, "saved", as_json)


@workflow_app.command()
def validate(
    file: FileArgument,
    offline: Annotated[bool, typer.Option("--offline", help="Look at the form alone; ask no platform.")] = False,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say all that is wrong with a file: line, node, port, reason."""
    read = read_file(file)
    found = Judged({}, faults_of_form(read))
    if not found.faults and not offline:
        with connect(url, org) as client:
            existing = _existing(client, read.document.slug)
            found = judged(client.workflows, None if existing is None else existing.id, read)
    if as_json:
        report = found.report.raw if found.report else {}
        more = {name: report.get(name, []) for name in ("warnings", "conversions")}
        print_json({"valid": not found.faults, "problems": found.faults, **more})
    else:
        _show_faults(file, found.faults)
        _show_report(found.report)
    if found.faults:
        raise typer.Exit(ExitCode.INVALID_INPUT)


@workflow_app.command()
def diff(
    before: Given,
    after: Annotated[
        str | None, typer.Argument(metavar="[WORKFLOW[@N]|FILE]", help="The other one; of a file its stored workflow.")
    ] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Leave with 1 where they differ.")] = False,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how two graphs differ: nodes and edges that came, went or changed, versions that were raised."""
    first, _ = _document(before, org, url)
    second = first
    if after is None:
        first, _ = _document(first.slug, org, url)
    else:
        second, _ = _document(after, org, url)
    changes = differences(first, second)
    if as_json:
        print_json([{**vars(change)} for change in changes])
    else:
        for change in changes:
            say(change.as_text())
        if not changes:
            hint("no difference")
    if changes and exit_code:
        raise typer.Exit(ExitCode.FAILED)


def _row(workflow: Workflow) -> Sequence[str]:
    changed = (workflow.updated_at or "")[:16].replace("T", " ")
    return (workflow.slug, workflow.name, str(workflow.node_count), workflow.visibility_effective, changed)


def _document(given: str, org: str | None, url: str | None) -> tuple[WorkflowDocument, int | None]:
    """Of a file where there is one of that name, else of the platform."""
    if given.endswith((".yml", ".yaml")) or Path(given).is_file():
        read = read_file(Path(given))
        if faults := faults_of_form(read):
            raise refused(faults)
        return read.document, None
    with connect(url, org) as client:
        return _stored(client, given)


def _stored(client: Client, text: str) -> tuple[WorkflowDocument, int]:
    workflow, version = _version(client, text)
    return client.workflows.document(workflow, version), version.version


def _version(client: Client, text: str) -> tuple[Workflow, WorkflowVersion]:
    """Of WORKFLOW[@N]."""
    slug, _, number = text.partition("@")
    if number and not (number.isascii() and number.isdigit()):
        raise InvalidInputError("arguments", f"{text!r}: behind the @ stands the number of a version.")
    workflow = client.workflows.get(slug)
    version = client.workflows.version(workflow.id, int(number)) if number else workflow.latest_version
    if version is None:
        raise NotFoundError("version_not_found", f"Workflow {workflow.slug} has no version yet.")
    return workflow, version


def _existing(client: Client, slug: str) -> Workflow | None:
    try:
        return client.workflows.get(slug)
    except NotFoundError:
        return None


def _is_newest(client: Client, workflow: Workflow, document: WorkflowDocument) -> bool:
    """Whether the newest version has this very graph; name and description are the workflow's, not the version's."""
    if workflow.latest_version is None:
        return False
    stored = client.workflows.document(workflow)
    return are_same(
        WorkflowDocument(document.slug, None, None, document.graph),
        WorkflowDocument(stored.slug, None, None, stored.graph),
    )


def _tell_saved(workflow: Workflow, version: int, what: str, as_json: bool) -> None:
    if as_json:
        print_json({"id": workflow.id, "workflow": workflow.slug, "version": version, "changed": what == "saved"})
    else:
        say(f"{workflow.slug} @{version} {what}")


def _show_faults(file: Path, faults: Sequence[Fault]) -> None:
    for fault in faults:
        where = f"{file}:{fault.line}" if fault.line else str(file)
        say(f"{where}: {f'{fault.place}: ' if fault.place else ''}{fault.message} [{fault.code}]")
    if not faults:
        say(f"{file} holds")


def _show_report(report: Report | None) -> None:
    """What holds, but should be known: warnings, and where numbers change their unit."""
    for warning in report.warnings if report else ():
        hint(f"warning: {warning.message} [{warning.code}]")
    for item in report.conversions if report else ():
        for change in item["changes"]:
            place = f" at {change['place']}" if change["place"] else ""
            units = f"{change['source_unit']} becomes {change['target_unit']} (x {change['factor']:g})"
            hint(f"{item['source']} -> {item['target']}{place}: {units}")
