"""Generators of fractional factorial designs: what they mean, their resolution, and a search for them.

A generator sets a factor to the product of base factors. The resolution is the length of the shortest word of the
defining relation. Box, Hunter and Hunter, "Statistics for Experimenters" (2005), chapter 6.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mecapy_platform.core.sampling.problems import Problems

Generators = Mapping[str, tuple[int, tuple[str, ...]]]
MAX_GENERATED = 16  # their products are the words of the defining relation: 2^16
MAX_BASE = 15
_MAX_LOOKS = 20_000


def read_generators(
    given: Mapping[str, Any], names: Sequence[str], problems: Problems
) -> dict[str, tuple[int, tuple[str, ...]]]:
    """{"d": "a*b*c", "e": "-a*b"} as signs and names of base factors."""
    found: dict[str, tuple[int, tuple[str, ...]]] = {}
    if len(given) > MAX_GENERATED:
        said = f"At most {MAX_GENERATED} factors can be generated; a Plackett-Burman design screens more."
        problems.add("generators", "generator_impossible", said)
        return found
    base = [name for name in names if name not in given]
    for name, text in given.items():
        path = f"generators.{str(name)[:100]}"
        if name not in names:
            problems.add(path, "unknown_key", f"This is no factor. There is: {', '.join(names)}.")
            continue
        plain = text.strip() if isinstance(text, str) else ""
        word = tuple(part.strip() for part in plain.removeprefix("-").split("*"))
        if len(word) < 2 or len(set(word)) != len(word) or not set(word) <= set(base):
            said = f"A generator is a product of factors that have none themselves, such as 'a*b': {', '.join(base)}."
            problems.add(path, "generator_impossible", said)
            continue
        found[str(name)] = (-1 if plain.startswith("-") else 1, word)
    if not problems.count and resolution(names, found) < 3:
        said = "Two factors of this design always move together: choose other generators."
        problems.add("generators", "generator_impossible", said)
    return found


def resolution(names: Sequence[str], generators: Generators) -> int:
    """The length of the shortest word; one more than the number of factors for a full design."""
    bits = {name: 1 << place for place, name in enumerate(names)}
    words = [sum(bits[part] for part in (name, *word)) for name, (_, word) in generators.items()]
    relation = [0]
    for word in words:
        relation += [word ^ other for other in relation]
    return min((word.bit_count() for word in relation if word), default=len(names) + 1)


def generators_for(names: Sequence[str], least_resolution: int) -> dict[str, tuple[int, tuple[str, ...]]] | None:
    """Generators of the smallest fraction found that has this resolution; None where no fraction has been found."""
    best: list[int] | None = None
    for base in range(min(len(names) - 1, MAX_BASE), 0, -1):
        columns = _columns(base, len(names) - base, least_resolution) if len(names) - base <= MAX_GENERATED else None
        if columns is None:
            break
        best = columns
    if best is None:
        return None
    letters = names[: len(names) - len(best)]
    return {
        name: (1, tuple(letter for place, letter in enumerate(letters) if column >> place & 1))
        for name, column in zip(names[len(letters) :], best, strict=True)
    }


def _columns(base: int, wanted: int, least: int) -> list[int] | None:
    """Products of base factors, so that each word of the defining relation has at least `least` factors."""
    candidates = sorted(
        (column for column in range(1, 1 << base) if column.bit_count() >= least - 1),
        key=lambda column: (-column.bit_count(), column),
    )
    looks = iter(range(_MAX_LOOKS))
    return next(_search(candidates, wanted, least, [], {0: 0}, looks), None)


def _search(
    candidates: list[int], wanted: int, least: int, chosen: list[int], sums: dict[int, int], looks: Iterator[int]
) -> Iterator[list[int]]:
    """`sums`: what products of chosen columns come to, and by how few of them."""
    if len(chosen) == wanted:
        yield chosen
        return
    for place, column in enumerate(candidates):
        if len(candidates) - place < wanted - len(chosen) or next(looks, None) is None:
            return
        grown = {column ^ other: number + 1 for other, number in sums.items()}
        if all(other.bit_count() + number >= least for other, number in grown.items()):
            both = dict(sums)
            for other, number in grown.items():
                both[other] = min(number, both.get(other, number))
            yield from _search(candidates[place + 1 :], wanted, least, [*chosen, column], both, looks)
