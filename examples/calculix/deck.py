"""What a CalculiX input deck says before it is run: files it needs, number of steps, kinds of analysis.

Standard library only.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

PROCEDURES = frozenset(
    (
        *(
            "STATIC",
            "VISCO",
            "DYNAMIC",
            "MODALDYNAMIC",
            "STEADYSTATEDYNAMICS",
            "FREQUENCY",
            "COMPLEXFREQUENCY",
            "BUCKLE",
        ),
        *(
            "GREEN",
            "HEATTRANSFER",
            "COUPLEDTEMPERATURE-DISPLACEMENT",
            "UNCOUPLEDTEMPERATURE-DISPLACEMENT",
            "NOANALYSIS",
        ),
        *("SENSITIVITY", "ROBUSTDESIGN", "FEASIBLEDIRECTION", "ELECTROMAGNETICS", "CRACKPROPAGATION", "CFD"),
        *("SUBSTRUCTUREGENERATE",),
    )
)
INPUT = re.compile(r'[,\s]INPUT\s*=\s*(?:"([^"]*)"|([^,]*))', re.IGNORECASE)
MAX_DEPTH = 20


@dataclass
class Deck:
    """Read from the deck and the files it includes.

    `missing` names every file asked for that is not there, and by which card. `procedures` has one for each step, ""
    where a step names none; `open_step` is a step with cards that no *END STEP closes.
    """

    procedures: list[str] = field(default_factory=list)
    open_step: int = 0
    keywords: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    _cards_in_step: int = 0

    @property
    def steps(self) -> int:
        return len(self.procedures)

    @property
    def asked_steps(self) -> int:
        """Steps that ask for something: a last *STEP with nothing below it does not."""
        is_empty = self.steps > 0 and self._cards_in_step == 0
        return self.steps - is_empty

    def note(self, keyword: str) -> None:
        """One card more."""
        self.keywords.add(keyword)
        if keyword == "STEP":
            self.procedures.append("")
            self._cards_in_step = self.open_step = 0
        elif keyword == "ENDSTEP":
            self.open_step = 0
            self._cards_in_step = 1
        elif self.procedures:
            self._cards_in_step += 1
            if self._cards_in_step == 1:
                self.open_step = self.steps
            if keyword in PROCEDURES and not self.procedures[-1]:
                self.procedures[-1] = keyword


def scan(path: Path, job: str) -> Deck:
    """Read `path` and what it includes.

    Names are relative to the folder of `path`, where ccx runs under the name `job`.
    """
    deck = Deck()
    _scan(path, job, deck, depth=0)
    return deck


def _scan(path: Path, job: str, deck: Deck, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"{path.name}: *INCLUDE is nested deeper than {MAX_DEPTH} files; does a file include itself?")
    for card in _cards(path):
        keyword = card.split(",")[0].lstrip("*").replace(" ", "").upper()
        deck.note(keyword)
        named = INPUT.search(card)
        if named:
            name = named[1] if named[1] is not None else named[2].replace(" ", "")
            if not (path.parent / name).is_file():
                deck.missing.append(f"{name} (named by *{keyword})")
            elif keyword == "INCLUDE":
                _scan(path.parent / name, job, deck, depth + 1)
        elif (
            keyword == "RESTART"
            and re.search(r",\s*READ\b", card, re.IGNORECASE)
            and not (path.parent / f"{job}.rin").is_file()
        ):
            deck.missing.append(f"{job}.rin (read by *RESTART,READ: the .rout of the earlier run, renamed)")


def _cards(path: Path) -> list[str]:
    """Keyword lines without comments, each joined with its continuation lines.

    A keyword line that ends in a comma goes on.
    """
    cards, open_card = [], False
    with path.open(encoding="latin-1") as lines:
        for line in lines:
            text = line.strip()
            if text.startswith("**"):
                continue
            if text.startswith("*"):
                cards.append(text)
            elif open_card:
                cards[-1] += text
            else:
                continue
            open_card = text.endswith(",")
    return cards
