"""What a handler may do in every backend: processes of its own, values of every kind. A part of the contract suite."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mecapy_platform.sandbox.base import EndReason

if TYPE_CHECKING:
    from integration.sandbox_contract import Bench


class ForkContract:
    """The process that was called gives the result and the end; what it forked gives neither."""

    @pytest.mark.parametrize("waits", [True, False])
    @pytest.mark.parametrize(
        ("kind", "code"), [("returns", 0), ("raises", 1), ("exits", 4), ("exits_at_once", 5), ("grandchild", 0)]
    )
    def test_only_the_process_that_was_called_answers(self, bench: "Bench", kind: str, code: int, waits: bool) -> None:
        for _ in range(3):  # without waiting it is a race: the child may be first, or the parent
            outcome = bench.run("children:forks", {"kind": kind, "waits": waits})
            assert (outcome.ended.reason, outcome.ended.exit_code) == (EndReason.EXITED, 0)
            assert outcome.result == {"pid": True, "code": code if waits else -1}
            assert outcome.collected.error is None

    def test_a_module_that_forks_while_it_is_imported_answers_once(self, bench: "Bench") -> None:
        for _ in range(4):  # from the third on, warm calls are loaded ahead
            outcome = bench.run("forks_on_import:answer")
            assert outcome.result == {"is_parent": True}
            assert outcome.ended.exit_code == 0

    def test_what_the_parent_holds_in_a_buffer_is_written_once(self, bench: "Bench") -> None:
        outcome = bench.run("children:forks_with_open_file")
        assert outcome.result == {"who": "parent"}
        assert outcome.contents == {"held.txt": b"once\n"}


class ValueContract:
    """See tests/unit/test_guest_results.py for every kind."""

    def test_values_of_the_standard_library_keep_their_meaning(self, bench: "Bench") -> None:
        result = bench.run("children:values").result
        assert result == {"day": "2026-03-04", "decimal": 0.5, "fraction": 0.25, "flag": True}

    def test_annotations_are_met_by_what_they_name(self, bench: "Bench") -> None:
        found = bench.run("annotated:choose", {"grade": "S355", "beam": {"length": 2, "marks": ["S235"]}}).result
        assert found == {"grade": "S355", "length": 2, "beam": "S235", "marks": ["S235"]}
        assert bench.run("annotated:choose").result["grade"] == "S235"
        refused = bench.run("annotated:choose", {"grade": "S999"})
        assert "Input grade: 'S999' is no Grade; allowed are S235, S355" in refused.error


class ChildContract:
    """Interpreters that the handler starts find what it has itself, and the standard library before its environment."""

    @pytest.mark.parametrize(
        "how",
        [
            "command",
            "isolated",
            "real path",
            "name",
            "module",
            "module of the environment",
            "flags",
            "script",
            "spawn",
            "forkserver",
            "fork",
        ],
    )
    def test_an_interpreter_that_the_handler_starts_has_the_package_and_its_environment(
        self, bench: "Bench", how: str
    ) -> None:
        outcome = bench.run("children:starts", {"how": how}, site_packages=_environment(bench.folder))
        seen = outcome.result["result"]
        assert seen
        for item in seen:
            assert (item["names"], item["half"]) == (["environment", "pth"], "1/2")
            assert item.get("flags", [0, 0]) == [0, int(how == "isolated")]

    def test_a_package_without_environment_is_found_too(self, bench: "Bench") -> None:
        command = "import sys; print([path for path in sys.path if path in ('/package', '/site-packages')])"
        outcome = bench.run("children:runs", {"code": command})
        assert "'/package'" in outcome.result["result"]  # a container has the folder of an empty environment too


def _environment(folder: Path) -> Path:
    """Site-packages: a module, one that a .pth file leads to, one named like a module of the standard library."""
    site = folder / "site-packages"
    (site / "more").mkdir(parents=True)
    main = (
        "if __name__ == '__main__':\n    import os, by_pth, children, json\n    print(json.dumps(children.found()))\n"
    )
    (site / "from_environment.py").write_text(f"NAME = 'environment'\n{main}")
    (site / "more" / "by_pth.py").write_text("NAME = 'pth'\n")
    (site / "more.pth").write_text("more\n")
    (site / "fractions.py").write_text(f"raise ImportError({json.dumps('the environment came first')})\n")
    return site
