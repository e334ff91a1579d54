"""The table of an attack suite: a line for each case with what it tried, how it was answered and how the task ended."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Row:
    case: str
    tries: Sequence[dict[str, Any]]
    end: str

    @property
    def escapes(self) -> int:
        return sum(item["escaped"] for item in self.tries)

    def short(self) -> str:
        answers = Counter(item["answer"][:24] for item in self.tries)
        words = ", ".join(f"{answer} x{count}" if count > 1 else answer for answer, count in answers.most_common(4))
        return f"{self.case:48.48} {len(self.tries):5} {self.escapes:7}  {self.end:30.30} {words[:90]}"

    def lines(self) -> list[str]:
        return [f"    {'ESCAPED ' if item['escaped'] else ''}{item['what']}: {item['answer']}" for item in self.tries]


@dataclass
class Table:
    name: str
    rows: dict[str, Row] = field(default_factory=dict)

    def add(self, case: str, tries: Sequence[dict[str, Any]], end: tuple[str, str]) -> None:
        self.rows[case] = Row(case, tries, " ".join(word for word in end if word))

    def write(self, folder: Path) -> None:
        """Write the whole to a file."""
        head = f"{'case':48} {'tries':>5} {'escapes':>7}  {'end':30} answers"
        rows = list(self.rows.values())
        total = (
            f"{len(rows)} cases, {sum(len(row.tries) for row in rows)} tries, {sum(row.escapes for row in rows)} "
            f"escapes"
        )
        folder.mkdir(exist_ok=True)
        long = [line for row in rows for line in (row.short(), *row.lines())]
        (folder / f"attacks-{self.name}.txt").write_text("\n".join((head, *long, total)) + "\n")
