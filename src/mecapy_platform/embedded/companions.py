"""Processes that a chosen backend needs beside its workers: started before them, told to them by its options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mecapy_platform.embedded.interpreters import Interpreter
from mecapy_platform.embedded.layout import Layout
from mecapy_platform.embedded.spawner import shown_roots
from mecapy_platform.sandbox.backends import CompanionPlace
from mecapy_platform.services.backends import chosen, given
from mecapy_platform.settings import Settings


@dataclass(frozen=True)
class CompanionPart:
    """One of them: its name as a part, its command line."""

    name: str
    argv: Sequence[str]


def companion_parts(
    settings: Settings, layout: Layout, owner_uid: int, interpreters: Sequence[Interpreter]
) -> tuple[Sequence[CompanionPart], Settings]:
    """What must be started, and the settings by which workers find it."""
    parts: list[CompanionPart] = []
    options: dict[str, Mapping[str, Any]] = dict(settings.backend_options)
    for kind in chosen(settings).with_companions():
        assert kind.companion is not None
        socket = layout.companions_run / kind.name
        place = CompanionPlace(socket, owner_uid, shown_roots(layout, interpreters))
        parts.append(CompanionPart(kind.companion.name, kind.companion.command(given(settings, kind, ""), place)))
        options[kind.name] = {**options.get(kind.name, {}), kind.companion.option: str(socket)}
    return parts, settings.model_copy(update={"backend_options": options})


def production_command(settings: Settings, socket: Path, owner_uid: int, roots: Sequence[str]) -> Sequence[str]:
    """The command line of the only companion that the settings ask for; empty where they ask for none."""
    for kind in chosen(settings).used():
        if kind.companion is not None:
            return kind.companion.command(given(settings, kind, ""), CompanionPlace(socket, owner_uid, roots))
    return ()
