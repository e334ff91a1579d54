"""`mecapy study`: vary a function over many points, and look at what came of it."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mecapy_platform.cli.console import ago, hint, print_json, print_pairs, print_table, say, seconds_text, size_text
from mecapy_platform.cli.exits import ExitCode
from mecapy_platform.cli.lazy import resolve
from mecapy_platform.cli.session import JsonOption, OrgOption, UrlOption, connect
from mecapy_platform.client.client import Client
from mecapy_platform.client.studies import Estimate, Point, Study
from mecapy_platform.core.errors import ConfigurationError, InvalidInputError, MalformedError

study_app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Vary a function over many points: designs of experiments."
)
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Id of the study; the newest when it is `last`.")]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A YAML or JSON file that describes the study.")]

TEMPLATE = """\
# A study: one function, many points. Start it with: mecapy study run {path}
name: {name}
package: {package}
function: {function}

# What varies, and how points are made: list, grid, csv, monte_carlo, latin_hypercube, sobol ..
design:
  kind: list
  points:
{points}

# What all points share.
fixed: {{}}

options:
  parallel: 100        # points under way at once
  max_failures: 100    # start nothing more once so many have failed
"""


class ExportForm(StrEnum):
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


class PlotKind(StrEnum):
    SCATTER = "scatter"
    HISTOGRAM = "histogram"
    CONVERGENCE = "convergence"
    TORNADO = "tornado"
    PARETO = "pareto"


@study_app.callback()
def study_group() -> None:
    """Vary a function over many points: designs of experiments."""


@study_app.command()
def new(
    target: Annotated[str, typer.Argument(metavar="PACKAGE:FUNCTION", help="What to vary.")],
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = Path("study.yml"),
    org: OrgOption = None,
    url: UrlOption = None,
) -> None:
    """Write a file that describes a study of a function, with its inputs named, to be filled in."""
    package, _, function = target.partition(":")
    if not function:
        raise ConfigurationError("target", f"'{target}' does not name a function. It looks like package:function.")
    if path.exists():
        raise ConfigurationError("file_exists", f"{path} is there already; name another file.")
    with connect(url, org) as client:
        found = client.packages.find(package)
    ports = [port for item in found.functions if item.name == function for port in item.inputs]
    lines = [f"      {port.name}:    # {port.type}" for port in ports if port.required] or ["      {}"]
    points = "    -\n" + "\n".join(lines)
    text = TEMPLATE.format(path=path, name=f"{function} study", package=package, function=function, points=points)
    path.write_text(text, encoding="utf-8")
    say(f"wrote {path}")
    hint(f"fill in the points, then: mecapy study run {path}")


@study_app.command()
def run(
    file: FileArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take, start nothing.")] = False,
    detach: Annotated[bool, typer.Option(help="Start, print the id, do not wait.")] = False,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a study from a file, and watch it to its end. It goes on when you stop watching."""
    described = read_study(file)
    with connect(url, org) as client:
        estimate = client.studies.estimate(described)
        if dry_run:
            print_json(estimate.raw) if as_json else _show_estimate(estimate)
            return
        if not as_json:
            hint(_estimate_text(estimate))
        study = client.studies.create(described)
        if detach:
            print_json(study.raw) if as_json else say(study.id)
            hint(f"watch: mecapy study watch {study.id}")
            return
        _finish(client, _watch(client, study.id, is_quiet=as_json), as_json=as_json)


@study_app.command()
def watch(study_id: StudyArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Watch a study to its end; Ctrl-C leaves it running."""
    with connect(url, org) as client:
        _finish(client, _watch(client, _id(client, study_id), is_quiet=as_json), as_json=as_json)


@study_app.command("list")
def list_studies(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=200, help="How many.")] = 20,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List studies, newest first."""
    with connect(url, org) as client:
        found = client.studies.recent(limit)
    if as_json:
        print_json([study.raw for study in found])
        return
    rows = (
        (
            study.id,
            study.name,
            study.state,
            f"{study.ended_points}/{study.points}",
            str(study.failed),
            ago(study.created_at),
        )
        for study in found
    )
    print_table(("study", "name", "state", "points", "failed", "made"), rows)


@study_app.command()
def show(study_id: StudyArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show a study: how far it is, what failed and why."""
    with connect(url, org) as client:
        study = client.studies.get(_id(client, study_id))
        if as_json:
            print_json(study.raw)
        else:
            _show(client, study)


@study_app.command()
def results(
    study_id: StudyArgument,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many points.")] = 20,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print points with inputs and results, the first ones; `export` writes all of them."""
    with connect(url, org) as client:
        shown: list[Point] = []
        more = False
        for point in client.studies.points(_id(client, study_id)):
            if len(shown) == limit:
                more = True
                break
            shown.append(point)
    if as_json:
        print_json([point.raw for point in shown])
        return
    inputs = sorted({name for point in shown for name in point.inputs})
    outputs = sorted({name for point in shown for name in point.result or {}})
    rows = (
        (
            str(point.index),
            point.state,
            *(_cell(point.inputs.get(name)) for name in inputs),
            *(_cell((point.result or {}).get(name)) for name in outputs),
            point.error.message if point.error else "",
        )
        for point in shown
    )
    print_table(("point", "state", *inputs, *outputs, ""), rows)
    if more:
        hint(f"more: mecapy study export {study_id} points.csv")


@study_app.command()
def stats(
    study_id: StudyArgument,
    wanted: Annotated[
        list[str] | None,
        typer.Option("--want", help="moments quantiles success correlation regression sobol morris .. (repeatable)."),
    ] = None,
    leave_out: Annotated[bool, typer.Option("--leave-out", help="Leave out points without a value.")] = False,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Calculate statistics of a study: moments and quantiles, or what is asked for."""
    options = {"incomplete": "leave_out"} if leave_out else {}
    with connect(url, org) as client:
        found = client.studies.statistics(
            _id(client, study_id), wanted or ("moments", "quantiles", "success"), **options
        )
    if as_json:
        print_json(found)
        return
    for name, tables in found["statistics"].items():
        _show_statistic(name, tables)
    hint(f"{found['used']} of {found['points']} points, confidence {found['confidence']:g}, numbers in SI")


@study_app.command()
def export(
    study_id: StudyArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="points.csv, points.parquet, or points.json, an object a line.")
    ],
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all points to a file; its ending says in which form."""
    ending = file.suffix.removeprefix(".").lower()
    if ending not in set(ExportForm):
        raise ConfigurationError(
            "export_form", f"{file} ends in none of: {', '.join('.' + form for form in ExportForm)}."
        )
    with connect(url, org) as client:
        written = client.studies.export(_id(client, study_id), ending, file)
    print_json({"path": str(file), "size_bytes": written}) if as_json else say(f"wrote {file}  {size_text(written)}")


@study_app.command()
def plot(
    study_id: StudyArgument,
    kind: Annotated[PlotKind, typer.Argument(help="scatter, histogram, convergence, tornado or pareto.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture to write: plot.svg or plot.png.")],
    x: Annotated[str | None, typer.Option(help="Column of the horizontal axis, or of the histogram.")] = None,
    y: Annotated[str | None, typer.Option(help="Column of the vertical axis, or of the tornado.")] = None,
    maximise: Annotated[list[str] | None, typer.Option(help="Of a Pareto set; others are minimised.")] = None,
    bins: Annotated[int | None, typer.Option(min=1, max=200)] = None,
    leave_out: Annotated[bool, typer.Option("--leave-out", help="Leave out points without a value.")] = False,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a plot of a study as SVG or PNG."""
    form = file.suffix.removeprefix(".").lower()
    if form not in {"svg", "png"}:
        raise ConfigurationError("export_form", f"{file} ends in none of: .svg, .png.")
    chosen = {"x": x, "y": y, "maximise": maximise, "bins": bins, "leave_out": leave_out}
    with connect(url, org) as client:
        written = client.studies.plot(_id(client, study_id), kind, form, file, **chosen)
    print_json({"path": str(file), "size_bytes": written}) if as_json else say(f"wrote {file}  {size_text(written)}")


@study_app.command()
def pause(study_id: StudyArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Start nothing more; what runs goes on to its end."""
    with connect(url, org) as client:
        _say(client.studies.pause(_id(client, study_id)), as_json=as_json)


@study_app.command()
def resume(study_id: StudyArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Go on; of an ended study, run again what failed or was cancelled."""
    with connect(url, org) as client:
        _say(client.studies.resume(_id(client, study_id)), as_json=as_json)


@study_app.command()
def cancel(study_id: StudyArgument, org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Cancel what waits, and ask what runs to end."""
    with connect(url, org) as client:
        _say(client.studies.cancel(_id(client, study_id)), as_json=as_json)


def _show_statistic(name: str, found: Any) -> None:
    """A table where it is one value of each kind for each output; else as it is."""
    if isinstance(found, Mapping) and found and all(_is_flat(row) for row in found.values()):
        heads = list(dict.fromkeys(head for row in found.values() for head in row))
        rows = ((column, *(_cell(row.get(head)) for head in heads)) for column, row in found.items())
        print_table((name, *heads), rows)
    elif isinstance(found, Mapping) and _is_square(found):
        for kind, rows in ((kind, rows) for kind, rows in found.items() if kind != "names"):
            named = zip(found["names"], rows, strict=True)
            print_table((f"{name}: {kind}", *found["names"]), ((column, *map(_cell, row)) for column, row in named))
    elif isinstance(found, Mapping) and found and all(_are_rows(rows) for rows in found.values()):
        for column, rows in found.items():
            heads = list(rows[0]) if rows else []
            print_table((f"{name} of {column}", *heads), (("", *(_cell(row[head]) for head in heads)) for row in rows))
    elif found:
        say(f"{name}: {json.dumps(found)}")


def _is_square(found: Mapping[str, Any]) -> bool:
    """Tables by kind, whose rows and columns have the same names."""
    names = found.get("names")
    tables = [rows for kind, rows in found.items() if kind != "names"]
    return isinstance(names, list) and all(isinstance(rows, list) and len(rows) == len(names) for rows in tables)


def _are_rows(rows: Any) -> bool:
    return isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows)


def _is_flat(row: Any) -> bool:
    return isinstance(row, Mapping) and not any(isinstance(value, Mapping) for value in row.values())


def read_study(file: Path) -> dict[str, Any]:
    """A description of a study, from YAML or JSON, which is YAML too."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise InvalidInputError("study_file", f"Cannot read {file}: {error.strerror}.") from error
    try:
        described = resolve("mecapy_platform.core.manifest.document:read_yaml")(text).value
    except MalformedError as error:
        message = error.message.replace("mecapy.yml", str(file))
        raise InvalidInputError("study_file", message, problems=error.problems) from error
    if not isinstance(described, dict):
        raise InvalidInputError("study_file", f"{file} does not describe a study; write one with: mecapy study new")
    return described


def _watch(client: Client, study_id: str, *, is_quiet: bool) -> Study:
    try:
        with _line(is_quiet=is_quiet) as show:
            return client.studies.wait(study_id, step_seconds=2.0, on_look=show)
    except KeyboardInterrupt:
        hint(f"\nThe study goes on. Watch: mecapy study watch {study_id}   Cancel: mecapy study cancel {study_id}")
        raise typer.Exit(ExitCode.OUT_OF_TIME) from None


@contextmanager
def _line(*, is_quiet: bool) -> Iterator[Any]:
    """On a terminal one line that changes; elsewhere a line at each tenth. On stderr."""
    is_live = not is_quiet and sys.stderr.isatty()
    status = resolve("mecapy_platform.cli.tables:TerminalLine")("starting") if is_live else None
    began, said = time.monotonic(), [-1]
    if status:
        status.start()

    def show(study: Study) -> None:
        if is_quiet:
            return
        text = _progress(study, time.monotonic() - began)
        tenth = 10 * study.ended_points // max(study.points, 1)
        if status:
            status.update(text)
        elif tenth > said[0]:
            said[0] = tenth
            hint(text)

    try:
        yield show
    finally:
        if status:
            status.stop()


def _progress(study: Study, seconds: float) -> str:
    parts = [f"{study.state} {study.ended_points}/{study.points}"]
    if study.failed:
        parts.append(f"{study.failed} failed")
    if study.running:
        parts.append(f"{study.running} under way")
    if study.ended_points and seconds > 1 and not study.is_ended:
        parts.append(f"{study.ended_points / seconds:.3g} points/s")
    return ", ".join(parts)


def _finish(client: Client, study: Study, *, as_json: bool) -> None:
    if as_json:
        print_json(study.raw)
    else:
        _show(client, study)
        hint(f"points: mecapy study results {study.id}   all: mecapy study export {study.id} points.csv")
    if study.state != "completed" or study.failed:
        raise typer.Exit(ExitCode.FAILED)


def _show(client: Client, study: Study) -> None:
    took = None
    if study.started_at and study.completed_at:
        took = (study.completed_at - study.started_at).total_seconds()
    numbers = [f"{study.completed} completed"]
    numbers += [
        f"{getattr(study, name)} {name}"
        for name in ("failed", "cancelled", "running", "waiting")
        if getattr(study, name)
    ]
    print_pairs(
        (
            ("study", study.id),
            ("name", study.name),
            ("state", study.state),
            ("why", study.error.message if study.error else ""),
            ("design", str(study.design.get("kind", ""))),
            ("points", f"{study.points}: {', '.join(numbers)}"),
            ("CPU", f"{study.cpu_seconds:.3g} s"),
            ("took", seconds_text(took)),
        )
    )
    for name, value in _found(study.raw.get("outcome") or {}):
        say(f"{name}: {value}")
    if study.failed:
        rows = (
            (str(row["points"]), str(row["first"]), row["code"] or "", row["message"] or "")
            for row in client.studies.failures(study.id)
        )
        say("")
        print_table(("points", "first", "code", "why they failed"), rows)


def _found(outcome: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a driven study has found, but for its history; the whole is in `--json`."""
    best = outcome.get("best") or {}
    parts = {**outcome, **best, **(best.get("inputs") or outcome.get("inputs") or {})}
    values = best.get("values")
    if values:
        parts["values"] = ", ".join(map(_cell, values))
    for name, value in parts.items():
        if value is not None and not isinstance(value, Mapping | list):
            yield name, _cell(value)


def _show_estimate(estimate: Estimate) -> None:
    say(_estimate_text(estimate))
    for note in estimate.notes:
        say(note)


def _estimate_text(estimate: Estimate) -> str:
    source = "as earlier runs took" if estimate.is_learned else "its time limit, so far less is likely"
    hours = f"{estimate.cpu_hours:.3g} CPU-hours at {seconds_text(estimate.seconds_each)} each ({source})"
    before = f"; {estimate.waiting_before} tasks of your organization wait before it" if estimate.waiting_before else ""
    return f"{estimate.points} points, at most {hours}{before}"


def _say(study: Study, *, as_json: bool) -> None:
    print_json(study.raw) if as_json else say(f"{study.name}: {_progress(study, 0)}")


def _id(client: Client, named: str) -> str:
    if named != "last":
        return named
    recent = client.studies.recent(1)
    if not recent:
        raise ConfigurationError("no_study", "There is no study yet. Write one: mecapy study new PACKAGE:FUNCTION")
    return recent[0].id


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and len(value) == 2 and all(isinstance(end, float) for end in value):
        return f"{value[0]:.6g} .. {value[1]:.6g}"
    if isinstance(value, Mapping | list):
        return json.dumps(value)
    return "" if value is None else str(value)
