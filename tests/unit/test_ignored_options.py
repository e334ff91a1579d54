"""What a manifest asks for in vain is said when it is deployed."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mecapy_platform.sandbox.base import Sandbox
from mecapy_platform.sandbox.bubblewrap.backend import BubblewrapSandbox
from mecapy_platform.worker.ignored_options import ignored_options
from support.fakes import FakeSandbox

FUNCTIONS: Mapping[str, Any] = {"force": {}, "moment": {}}
IN_VAIN = ["`reuse` of force is ignored: in containers each call has a process of its own."]


@pytest.mark.parametrize(
    ("sandboxes", "is_image", "said"),
    [
        ([BubblewrapSandbox()], False, []),
        ([FakeSandbox()], False, IN_VAIN),
        ([FakeSandbox(), BubblewrapSandbox()], False, []),
        ([FakeSandbox(), BubblewrapSandbox()], True, IN_VAIN),
    ],
)
def test_reuse_is_said_to_be_ignored_where_no_sandbox_does_it(
    sandboxes: Sequence[Sandbox], is_image: bool, said: list[str]
) -> None:
    platform = {"functions": {"force": {"reuse": 50}, "moment": {"reuse": 1}}}
    manifest = {"functions": FUNCTIONS, "platform": platform}
    assert list(ignored_options(manifest, sandboxes, is_image=is_image)) == said
    assert list(ignored_options({"functions": FUNCTIONS}, sandboxes, is_image=is_image)) == []


@pytest.mark.parametrize("other", [{"warm": False}, {"checks": {"restricted_python": True}}])
def test_reuse_beside_an_option_that_hinders_it_is_said(other: Mapping[str, Any]) -> None:
    manifest = {"functions": FUNCTIONS, "platform": {"functions": {"force": {"reuse": 50, **other}}}}
    (said,) = ignored_options(manifest, [BubblewrapSandbox()], is_image=False)
    assert said.startswith("`reuse` of force is ignored")
