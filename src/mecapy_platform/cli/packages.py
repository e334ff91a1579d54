"""`mecapy deploy` and `mecapy packages`."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mecapy_platform.cli.checks import show_report
from mecapy_platform.cli.console import hint, print_json, print_table, say, size_text
from mecapy_platform.cli.exits import ExitCode
from mecapy_platform.cli.session import JsonOption, OrgOption, UrlOption, connect
from mecapy_platform.client.archive import MANIFEST, check_size, write_zip
from mecapy_platform.client.checks import ChecksReport
from mecapy_platform.client.client import Client
from mecapy_platform.client.packages import Deployment, Function, Package, PackageVersion
from mecapy_platform.client.texts import checked_manifest
from mecapy_platform.core.errors import NotFoundError
from mecapy_platform.core.manifest import Manifest

POLL_SECONDS = 1.0


def deploy(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder with a mecapy.yml, or a zip of one.")] = Path(),
    detach: Annotated[bool, typer.Option(help="Do not wait for the build.")] = False,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deploy a package: the first version of a new one, or a new version of one that exists."""
    manifest = checked_manifest(path)
    name, version = manifest.package.name, manifest.package.version
    with connect(url, org) as client, tempfile.TemporaryDirectory(prefix="mecapy-") as scratch:
        archive = _archive(path, Path(scratch) / f"{name}-{version}.zip")
        hint(f"{name} {version}: sending {size_text(archive.stat().st_size)} to {client.url}")
        known = _existing(client, name)
        deployment = client.packages.deploy(archive, package_id=known.id if known else None)
        built = None if detach else _await_build(client, deployment.package.id, version)
        checks = _checks(client, deployment.package.id, version) if built else None
    if checks is not None and not as_json:
        show_report(checks)
    _report(deployment, built, manifest, as_json=as_json)


def packages(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show this package with its functions and ports.")
    ] = None,
    archived: Annotated[bool, typer.Option(help="Archived ones too.")] = False,
    org: OrgOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List packages, or show one with its functions, ports and versions."""
    with connect(url, org) as client:
        if name is None:
            _list(client.packages.all(include_archived=archived), as_json=as_json)
            return
        package = client.packages.find(name)
        versions = client.packages.versions(package.id)
    if as_json:
        print_json({"package": package, "versions": versions})
        return
    say(f"{package.name} {package.version}  {package.status}  {package.visibility}")
    for function in package.functions:
        say(f"\n{package.name}:{function.name}  {function.description or ''}")
        print_table(("port", "direction", "type", "required", "description"), _ports(function))
    if versions:
        say("")
        rows = (
            (
                version.version,
                "yanked" if version.yanked_at else version.status,
                (version.created_at or "")[:16].replace("T", " "),
            )
            for version in versions
        )
        print_table(("version", "status", "created"), rows)


def _archive(path: Path, target: Path) -> Path:
    if path.is_dir():
        write_zip(path, target)
        return target
    check_size(path)
    return path


def _existing(client: Client, name: str) -> Package | None:
    """The caller's package of that name: in the named organization, else in whichever one the platform acts."""
    try:
        return client.packages.find(name)
    except NotFoundError:
        return None


def _await_build(client: Client, package_id: str, version: str) -> PackageVersion | None:
    """The version once its build has ended."""
    told = False
    while True:
        found = next((item for item in client.packages.versions(package_id) if item.version == version), None)
        if found is None or not found.is_building:
            return found
        if not told:
            hint("building the environment ..  (Ctrl-C leaves; the build goes on)")
            told = True
        time.sleep(POLL_SECONDS)


def _checks(client: Client, package_id: str, version: str) -> ChecksReport | None:
    """None where there is no report: an older platform, or a build that ended before its checks."""
    try:
        found = client.checks.report(package_id, version)
    except NotFoundError:
        return None
    return found if found.checks else None


def _report(deployment: Deployment, built: PackageVersion | None, manifest: Manifest, *, as_json: bool) -> None:
    has_failed = built is not None and built.status == "error"
    if as_json:
        print_json({**deployment.raw, "version": built})
    elif has_failed:
        hint(built.build_log if built and built.build_log else "The build left no log.")
        hint(f"The build of {manifest.package.name} failed. Mend it, raise the version in {MANIFEST}, deploy again.")
    else:
        _show_cases(built.report if built else deployment.validation_results)
        state = built.status if built else deployment.package.status
        say(f"deployed {manifest.package.name} {manifest.package.version} ({state})")
        for name in manifest.functions:
            hint(f"try: mecapy run {manifest.package.name}:{name} {_example(manifest, name)}".rstrip())
    if has_failed:
        raise typer.Exit(ExitCode.FAILED)


def _show_cases(report: Mapping[str, Any] | None) -> None:
    """The verdicts of the test cases that ran on deployment."""
    found = (report or {}).get("validation_testcases") or {}
    for case in found.get("cases") or ():
        verdict = "passed" if case.get("passed") else "FAILED: " + "; ".join(case.get("differences") or ())
        hint(f"test case {case.get('function', '')} / {case.get('name', '')}: {verdict}")
    if found.get("failed"):
        hint(
            f"{found['failed']} test cases failed; the package is usable all the same "
            f"(quality.validation_testcases.fail_on_error: false)"
        )


def _example(manifest: Manifest, name: str) -> str:
    inputs = manifest.functions[name].inputs or {}
    required = [port for port, spec in inputs.items() if spec.get("required", True)]
    return " ".join(f"{port}=.." for port in required[:4])


def _list(found: tuple[Package, ...], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    elif found:
        rows = (
            (_full_name(item), item.version, item.status, ", ".join(function.name for function in item.functions))
            for item in found
        )
        print_table(("package", "version", "status", "functions"), rows)
    else:
        say("No packages. Write one: mecapy init PATH, then: mecapy deploy PATH")


def _full_name(package: Package) -> str:
    return f"{package.organization_slug}/{package.name}" if package.organization_slug else package.name


def _ports(function: Function) -> list[tuple[str, ...]]:
    ports = [("in", port) for port in function.inputs] + [("out", port) for port in function.outputs]
    return [
        (port.name, way, port.type, "yes" if port.required else "no", port.description or "") for way, port in ports
    ]
