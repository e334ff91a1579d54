"""Each part of an embedded platform is told the addresses and secrets that it works with, and no other."""

import pytest
from pydantic import SecretStr

from mecapy_platform.embedded.program import NEEDED, SECRET_ADDRESSES, part_settings
from mecapy_platform.settings import Settings

ALL = Settings.model_validate(
    {
        "database_url": "app",
        "database_worker_url": "worker",
        "database_owner_url": "owner",
        "broker_url": "broker",
        "signing_secret": "signing",
    }
)


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("migrate", {"database_owner_url"}),
        ("api", {"database_url", "broker_url", "signing_secret"}),
        ("relay", {"database_worker_url", "broker_url"}),
        ("worker", {"database_worker_url", "broker_url"}),
        ("ready", {"database_url", "broker_url"}),
    ],
)
def test_a_part_is_told_what_it_works_with_alone(part: str, told: set[str]) -> None:
    own = part_settings(part, ALL)
    assert {name for name in SECRET_ADDRESSES if getattr(own, name)} == told
    assert own.data_dir == ALL.data_dir


def test_every_part_is_named_here() -> None:
    assert set(NEEDED) == {"migrate", "api", "relay", "worker", "ready"}


def test_every_secret_setting_is_given_by_name() -> None:
    """A new address or secret must say which part needs it."""
    public = {"public_url", "package_index_url"}
    secret = {
        name
        for name, field in Settings.model_fields.items()
        if field.annotation is SecretStr or (name.endswith("_url") and name not in public)
    }
    assert secret == set(SECRET_ADDRESSES)
