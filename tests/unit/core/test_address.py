from ipaddress import IPv6Address, ip_address

import pytest

from posthouse.core.address import AddressPolicy
from posthouse.core.errors import ConfigurationError

ALLOWED = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "52.95.110.1",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "168.63.129.15",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "203.0.112.255",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "::FFFF:808:808",
    "2000::1",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2001:db7::1",
    "2001:db9::1",
    "2003::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "3ffe::1",
    "3fff:1000::1",
]

DENIED = {
    "0.0.0.0": "this_network",
    "0.1.2.3": "this_network",
    "10.0.0.0": "private",
    "10.255.255.255": "private",
    "100.64.0.0": "carrier_grade_nat",
    "100.127.255.255": "carrier_grade_nat",
    "100.100.100.200": "cloud_metadata",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "cloud_metadata",
    "169.254.0.1": "link_local",
    "169.254.169.253": "link_local",
    "169.254.169.254": "cloud_metadata",
    "169.254.170.2": "cloud_metadata",
    "169.254.170.23": "cloud_metadata",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "protocol_assignments",
    "192.0.0.9": "protocol_assignments",
    "192.0.0.192": "cloud_metadata",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4_relay",
    "192.168.0.1": "private",
    "192.168.255.255": "private",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.254": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::2": "v4_compatible",
    "::127.0.0.1": "v4_compatible",
    "::8.8.8.8": "v4_compatible",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:7f00:1": "loopback",
    "::ffff:10.0.0.1": "private",
    "::ffff:169.254.169.254": "cloud_metadata",
    "::ffff:0:127.0.0.1": "v4_translated",
    "64:ff9b::a9fe:a9fe": "nat64",
    "64:ff9b::8.8.8.8": "nat64",
    "64:ff9b:1::a9fe:a9fe": "nat64",
    "100::1": "discard",
    "100:0:0:1::1": "dummy_prefix",
    "2001::1": "teredo",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "teredo",
    "2001:1::1": "protocol_assignments",
    "2001:2::1": "benchmarking",
    "2001:3::1": "protocol_assignments",
    "2001:10::1": "orchid",
    "2001:2f:ffff::1": "orchid",
    "2001:1ff:ffff::1": "protocol_assignments",
    "2001:db8::1": "documentation",
    "2002:a9fe:a9fe::1": "6to4",
    "2002:7f00:1::": "6to4",
    "2002:808:808::1": "6to4",
    "3fff::1": "documentation",
    "3fff:fff:ffff::1": "documentation",
    "4000::1": "not_global_unicast",
    "5f00::1": "segment_routing",
    "1fff:ffff::1": "not_global_unicast",
    "200::1": "not_global_unicast",
    "400::1": "not_global_unicast",
    "fc00::1": "unique_local",
    "fd12:3456:789a::1": "unique_local",
    "fd00:ec2::254": "cloud_metadata",
    "fd00:ec2::23": "cloud_metadata",
    "fd20:ce::254": "cloud_metadata",
    "fe80::1": "link_local",
    "fe80::1%eth0": "link_local",
    "febf::1": "link_local",
    "fec0::1": "site_local",
    "feff::1": "site_local",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
    "": "not_an_address",
    "localhost": "not_an_address",
    "127.1": "not_an_address",
    "2130706433": "not_an_address",
    "0x7f.0.0.1": "not_an_address",
    "0177.0.0.1": "not_an_address",
    "127.0.0.1\n": "not_an_address",
    "\uff11\uff12\uff17.0.0.1": "not_an_address",
    "[::1]": "not_an_address",
    "10.0.0.0/8": "not_an_address",
}


def test_the_table_is_large_and_has_both_sides() -> None:
    assert len(ALLOWED) >= 30
    assert len(DENIED) >= 60


@pytest.mark.parametrize("address", ALLOWED)
def test_public_addresses_may_be_called(address: str) -> None:
    assert AddressPolicy().refusal(address) is None


@pytest.mark.parametrize(("address", "rule"), DENIED.items())
def test_every_other_address_is_refused_by_the_rule_that_says_why(address: str, rule: str) -> None:
    assert AddressPolicy().refusal(address) == rule


@pytest.mark.parametrize("address", ["127.0.0.1", "127.255.255.255", "::ffff:127.0.0.1"])
def test_an_allowed_network_wins_in_its_mapped_form_too(address: str) -> None:
    assert AddressPolicy(["127.0.0.0/8"]).refusal(address) is None


@pytest.mark.parametrize("address", ["10.0.0.1", "128.0.0.1", "::1", "::127.0.0.1", "169.254.169.254"])
def test_an_allowed_network_changes_nothing_for_others(address: str) -> None:
    assert AddressPolicy(["127.0.0.0/8"]).refusal(address) == AddressPolicy().refusal(address)


def test_networks_of_both_families_and_single_addresses_can_be_allowed() -> None:
    policy = AddressPolicy(["10.1.2.3", "fd00::/8", "::1", "192.168.0.0/16"])
    assert [policy.refusal(a) for a in ("10.1.2.3", "fd00:ec2::254", "::1", "192.168.7.7")] == [None] * 4
    assert policy.refusal("10.1.2.4") == "private"
    assert policy.refusal("fc00::1") == "unique_local"


def test_a_mapped_network_is_the_network_that_it_maps() -> None:
    policy = AddressPolicy(["::ffff:10.0.0.0/104"])
    assert policy.refusal("10.9.9.9") is None
    assert policy.refusal("::ffff:10.9.9.9") is None
    assert policy.refusal("11.0.0.1") is None
    assert policy.refusal("127.0.0.1") == "loopback"


def test_all_of_a_family_can_be_allowed() -> None:
    assert AddressPolicy(["0.0.0.0/0"]).refusal("127.0.0.1") is None
    assert AddressPolicy(["0.0.0.0/0"]).refusal("::1") == "loopback"
    assert AddressPolicy(["::/0"]).refusal("::1") is None
    assert AddressPolicy(["::/0"]).refusal("::ffff:127.0.0.1") == "loopback"


@pytest.mark.parametrize("text", ["", "localhost", "127.0.0.1/8", "127.0.0.0/33", "10.0.0.0/-1", "fd00::/129", "1.2.3"])
def test_what_is_no_network_is_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AddressPolicy(["10.0.0.0/8", text])
    assert f"'{text}'" in caught.value.message


@pytest.mark.parametrize("address", ALLOWED)
def test_the_table_is_never_looser_than_the_standard_library(address: str) -> None:
    """It may be stricter: NAT64, 6to4 and the like count as global there. A mapped address is judged unmapped."""
    parsed = ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    assert (mapped or parsed).is_global
