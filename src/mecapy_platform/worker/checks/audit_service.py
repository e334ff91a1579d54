"""Asks pip-audit's service about exact versions, in a process of its own that is killed when it takes too long.

The only place that imports pip-audit. Reads `{"cache": folder, "seconds": n, "packages": [[name, version], ..]}` on
stdin, writes `{"vulnerabilities": [..], "unknown": [..]}` on stdout.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from packaging.version import Version
from pip_audit._service.interface import ResolvedDependency
from pip_audit._service.pypi import PyPIService

SERVICE_AWAY = 3
THREADS = 8


def main() -> int:
    question = json.load(sys.stdin)
    service = PyPIService(cache_dir=Path(question["cache"]), timeout=question["seconds"])
    asked = [ResolvedDependency(name, Version(version)) for name, version in question["packages"]]
    try:
        first = [service.query(item) for item in asked[:1]]  # when the service is away, one question shows it
        with ThreadPoolExecutor(THREADS) as pool:
            answers = [*first, *pool.map(service.query, asked[1:])]
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the service, it was not asked
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return SERVICE_AWAY
    found: list[dict[str, Any]] = []
    unknown = [spec.name for spec, _ in answers if spec.is_skipped()]
    for spec, vulnerabilities in answers:
        for vulnerability in vulnerabilities:
            fixed = [str(version) for version in vulnerability.fix_versions]
            found.append(
                {
                    "package": spec.name,
                    "id": vulnerability.id,
                    "summary": vulnerability.description[:300],
                    "fixed": fixed,
                    "aliases": sorted(vulnerability.aliases),
                }
            )
    json.dump({"vulnerabilities": found, "unknown": unknown}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
