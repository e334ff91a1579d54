"""What a handler may do in every backend: processes of its own, values of every kind. A part of the contract suite."""

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
