"""Backends are declared in one dictionary, and nothing else names them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import mecapy_platform
from mecapy_platform.core.errors import ConfigurationError
from mecapy_platform.sandbox.backends import BackendKind, Capabilities, CompanionPlace, Given
from mecapy_platform.sandbox.docker.broker.config import BrokerConfig
from mecapy_platform.sandbox.docker.declared import options_from
from mecapy_platform.sandbox.registry import DECLARED
from mecapy_platform.services.backends import chosen, given
from mecapy_platform.settings import Settings
from support.fakes import FakeSandbox

SOURCE = Path(mecapy_platform.__file__).parent
CLUSTER = BackendKind("cluster", Capabilities(is_durable=True, is_node_bound=False), lambda _given: FakeSandbox())
NAMES_IT = {  # where the word stands for something else than a choice between backends
    "core/placement.py": "how an earlier version named the need for images",
    "core/checks/hostile/texts.py": "paths that a package has no business with",
}


def test_a_lane_has_the_backend_that_the_settings_name() -> None:
    kinds = {**DECLARED, "cluster": CLUSTER}
    backends = chosen(Settings(sandbox_backends={"long_running": "cluster"}), kinds)
    assert backends.of_lane("long_running") is CLUSTER
    assert [kind.name for kind in backends.used()] == ["bubblewrap", "cluster"]
    assert [kind.name for kind in backends.used(["default"])] == ["bubblewrap"]


def test_an_unknown_backend_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"'nonesuch'\. Known: bubblewrap, docker"):
        chosen(Settings(sandbox_backend="nonesuch")).used()


def test_options_come_from_the_backends_own_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MECAPY_SANDBOX_BACKENDS", '{"long_running": "docker"}')
    monkeypatch.setenv("MECAPY_DOCKER_WARM", "3")
    monkeypatch.setenv("MECAPY_DOCKER_BUILD_DEFAULT_FILTER", "1")
    monkeypatch.setenv("MECAPY_DATA_DIR", str(tmp_path))
    told = given(Settings(), DECLARED["docker"], "n1")
    made = options_from(told)
    assert (made.warm, made.builds_under_default_filter, made.home) == (3, True, tmp_path.resolve() / "docker" / "n1")


@pytest.mark.parametrize("words", [{"hsot": "unix:///x"}, {"warm": "many"}])
def test_an_option_that_a_backend_cannot_read_is_an_error(words: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"MECAPY_DOCKER_(HSOT|WARM)"):
        options_from(Given(Path("/x"), "n", "p", options=words))


def test_only_what_a_deployment_uses_has_a_companion_unless_its_operator_runs_one() -> None:
    assert chosen(Settings()).with_companions() == []
    assert [kind.name for kind in chosen(Settings(images_backend="docker")).with_companions()] == ["docker"]
    options = {"docker": {"broker": "/run/broker"}}
    assert chosen(Settings(images_backend="docker", backend_options=options)).with_companions() == []


def test_a_companion_is_told_its_socket_its_owner_and_the_folders_it_may_show(tmp_path: Path) -> None:
    settings = Settings(
        images_backend="docker", platform_name="p", backend_options={"docker": {"host": "unix:///run/other.sock"}}
    )
    (kind,) = chosen(settings).with_companions()
    assert kind.companion is not None
    argv = kind.companion.command(given(settings, kind, ""), CompanionPlace(tmp_path / "s", 7, [str(tmp_path)]))
    config = BrokerConfig.from_json(argv[-1])
    assert argv[argv.index("--socket") + 1] == str(tmp_path / "s")
    assert (config.owner_uid, config.roots, config.host, config.platform) == (
        7,
        (str(tmp_path),),
        "unix:///run/other.sock",
        "p",
    )


def test_no_backend_is_spelled_out_outside_its_own_folder() -> None:
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if path.parts[len(SOURCE.parts) : len(SOURCE.parts) + 1] != ("sandbox",)
        and any(f'"{name}"' in path.read_text("utf-8") for name in ("docker", "kubernetes", "pool"))
    }
    assert found <= set(NAMES_IT)
