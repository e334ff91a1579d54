import ipaddress

import pytest

from mecapy_platform.core.addresses import AddressPolicy, is_public, literal_address
from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.outbound import Connector

PUBLIC = ("8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1")
CLOSED = (
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
    "2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::", "100::1",
)  # fmt: skip
FORMS = {
    "127.0.0.1": ("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1",
                  "127.0.0.1.", "0x7F.0x0.0x0.0x1", "00000177.1"),
    "169.254.169.254": ("2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"),
}  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", CLOSED)
def test_everything_else_is_not_also_inside_another_address(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))
    assert not AddressPolicy().permits(ipaddress.ip_address(text))


@pytest.mark.parametrize(("meant", "text"), [(meant, text) for meant, texts in FORMS.items() for text in texts])
def test_an_address_is_known_in_every_form(meant: str, text: str) -> None:
    assert str(literal_address(text)) == meant
    with pytest.raises(InvalidInputError) as caught:
        Connector().addresses(text, 443)
    assert caught.value.code == "address_not_allowed"


@pytest.mark.parametrize("text", ["localhost", "127.0.0.1.nip", "1.2.3.4.5", "256.0.0.1", "089.1", "x", "", "1..2"])
def test_names_are_no_addresses(text: str) -> None:
    assert literal_address(text) is None


def test_an_operators_networks_are_permitted_also_inside_another_address() -> None:
    policy = AddressPolicy.of(["127.0.0.0/8"])
    assert policy.permits(ipaddress.ip_address("127.0.0.1"))
    assert policy.permits(ipaddress.ip_address("::ffff:127.0.0.1"))
    assert not policy.permits(ipaddress.ip_address("10.0.0.1"))


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["fe80::1%eth0"], ["::ffff:10.0.0.1"], []])
def test_a_name_is_judged_by_all_its_addresses(answers: list[str]) -> None:
    with pytest.raises(InvalidInputError):
        Connector(resolve=lambda _host, _port: answers).addresses("name.example", 443)


def test_a_name_is_asked_for_once_so_that_it_cannot_change_between_judging_and_connecting() -> None:
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["8.8.8.8"] if len(asked) == 1 else ["127.0.0.1"]

    assert [str(address) for address in Connector(resolve=resolve).addresses("name.example", 443)] == ["8.8.8.8"]
    assert asked == ["name.example"]
