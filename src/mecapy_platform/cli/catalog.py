"""`mecapy types`: the catalog of port types."""

from dataclasses import asdict

from mecapy_platform.cli.console import print_json, print_table
from mecapy_platform.cli.session import JsonOption, OrgOption, UrlOption, connect


def types(org: OrgOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show the types of ports, their units and their parents."""
    with connect(url, org) as client:
        found = list(client.catalog.load().types.values())
    if as_json:
        print_json([asdict(item) for item in found])
        return
    print_table(
        ("type", "unit", "parent", "category", "description"),
        ((item.name, item.unit or "", item.parent or "", item.category, item.description) for item in found),
    )
