"""Order of versions by Semantic Versioning 2.0.0. Build metadata after `+` does not count."""

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Self

from mecapy_platform.core.errors import InvalidInputError, Problem

NUMBER = r"(?:0|[1-9][0-9]{0,17})"
IDENTIFIER = rf"(?:{NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
SEMVER = re.compile(
    rf"({NUMBER})\.({NUMBER})\.({NUMBER})(?:-({IDENTIFIER}(?:\.{IDENTIFIER})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)


@total_ordering
@dataclass(frozen=True, eq=True)
class SemVer:
    numbers: tuple[int, int, int]
    prerelease: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        found = SEMVER.fullmatch(text)
        if found is None:
            message = f"{text!r} is not a version of the form 1.2.3 or 1.2.3-rc.1."
            raise InvalidInputError(
                "version_invalid", message, problems=[Problem("version", "version_invalid", message)]
            )
        major, minor, patch, prerelease = found.groups()
        return cls((int(major), int(minor), int(patch)), tuple(prerelease.split(".")) if prerelease else ())

    def __lt__(self, other: "SemVer") -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]:
        """A release comes after its pre-releases; numbers come before words, and a longer list after its beginning."""
        parts = tuple((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in self.prerelease)
        return self.numbers, not self.prerelease, parts
