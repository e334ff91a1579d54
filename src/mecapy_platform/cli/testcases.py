"""`mecapy test`: a package's test cases on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from mecapy_platform.cli.console import hint, print_json
from mecapy_platform.cli.exits import ExitCode
from mecapy_platform.cli.lazy import printable
from mecapy_platform.cli.session import JsonOption
from mecapy_platform.client.local import LocalPackage, Verdict, open_package, run_cases


def run_locally(
    path: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder with a mecapy.yml.")] = Path(),
    function: Annotated[str | None, typer.Option("-f", "--function", help="Only this function.")] = None,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show what the handler printed, also where it passed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a package's test cases on this machine, without a platform and without isolation: it is your own code."""
    package = open_package(path)
    _say_interpreter(package)
    verdicts = []
    for verdict in run_cases(package, function):
        verdicts.append(verdict)
        if not as_json:
            _show(verdict, verbose=verbose)
    failed = [verdict for verdict in verdicts if not verdict.has_passed]
    if as_json:
        cases = [
            {"function": item.function, "case": item.case, "passed": item.has_passed, "problems": item.problems}
            for item in verdicts
        ]
        print_json({"passed": len(verdicts) - len(failed), "failed": len(failed), "cases": cases})
    elif not verdicts:
        typer.echo("The package names no test cases (functions.NAME.testcases).")
    else:
        typer.echo(f"{len(verdicts) - len(failed)} passed, {len(failed)} failed")
    if failed:
        if package.needs_requirements:
            hint(f"Requirements are not installed by `mecapy test`: {package.interpreter.program} must have them.")
        raise typer.Exit(ExitCode.FAILED)


def _say_interpreter(package: LocalPackage) -> None:
    found, wanted = package.interpreter, package.manifest.runtime.version
    if not found.is_match:
        hint(
            f"No Python {wanted} on this machine: testing with {found.version} ({found.program}), which the platform "
            f"will not do."
        )


def _show(verdict: Verdict, *, verbose: bool) -> None:
    mark = (
        typer.style("passed", fg=typer.colors.GREEN)
        if verdict.has_passed
        else typer.style("FAILED", fg=typer.colors.RED)
    )
    typer.echo(f"{mark}  {printable(verdict.function)}: {printable(verdict.case)}")
    for problem in verdict.problems:
        typer.echo("        " + printable(problem).replace("\n", "\n        "))
    if verdict.output.strip() and (verbose or not verdict.has_passed):
        typer.echo("    --- it printed\n    " + printable(verdict.output.strip()).replace("\n", "\n    "))
