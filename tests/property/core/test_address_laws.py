from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.address import _DENIED_V4, _DENIED_V6, AddressPolicy

V4 = st.integers(0, (1 << 32) - 1).map(IPv4Address)
V6 = st.integers(0, (1 << 128) - 1).map(IPv6Address)
NETWORKS_V4 = [IPv4Network(text) for text in _DENIED_V4]
NETWORKS_V6 = [IPv6Network(text) for text in _DENIED_V6]
INSIDE_V4 = st.sampled_from(NETWORKS_V4).flatmap(lambda net: st.integers(0, net.num_addresses - 1).map(net.__getitem__))
INSIDE_V6 = st.sampled_from(NETWORKS_V6).flatmap(lambda net: st.integers(0, net.num_addresses - 1).map(net.__getitem__))
GLOBAL_V6 = st.integers(1 << 125, (1 << 126) - 1).map(IPv6Address)
POLICY = AddressPolicy()


def is_denied(address: IPv4Address | IPv6Address) -> bool:
    """The rule, looked up one network after the other."""
    if isinstance(address, IPv4Address):
        return any(address in network for network in NETWORKS_V4)
    if address.ipv4_mapped is not None:
        return is_denied(address.ipv4_mapped)
    return address not in IPv6Network("2000::/3") or any(address in network for network in NETWORKS_V6)


@given(V4 | INSIDE_V4 | V6 | INSIDE_V6 | GLOBAL_V6)
def test_the_table_is_what_its_networks_say(address: IPv4Address | IPv6Address) -> None:
    assert (POLICY.refusal(str(address)) is not None) == is_denied(address)


@given(V4 | INSIDE_V4)
def test_a_mapped_address_is_judged_as_what_it_maps(address: IPv4Address) -> None:
    mapped = IPv6Address((0xFFFF << 32) | int(address))
    assert POLICY.refusal(str(mapped)) == POLICY.refusal(str(address))


@given(V4 | INSIDE_V4)
def test_no_way_of_embedding_an_ipv4_address_in_ipv6_may_be_called(address: IPv4Address) -> None:
    """NAT64, 6to4, IPv4-compatible and IPv4-translated, public addresses included."""
    value = int(address)
    embedded = [value, (0xFFFF << 48) | value, (0x64FF9B << 96) | value, (0x2002 << 112) | (value << 80)]
    assert all(POLICY.refusal(str(IPv6Address(number))) is not None for number in embedded)


@given(V4 | INSIDE_V4 | V6 | INSIDE_V6, st.data())
def test_an_allowed_network_lets_through_what_it_holds_and_nothing_else(
    address: IPv4Address | IPv6Address, data: st.DataObject
) -> None:
    length = data.draw(st.integers(0, address.max_prefixlen))
    kind = IPv4Network if isinstance(address, IPv4Address) else IPv6Network
    network = kind((address, length), strict=False)
    policy = AddressPolicy([str(network)])
    if not (isinstance(address, IPv6Address) and address.ipv4_mapped):
        assert policy.refusal(str(address)) is None
    other = data.draw(V4 | INSIDE_V4 | V6 | INSIDE_V6)
    judged = other.ipv4_mapped if isinstance(other, IPv6Address) and other.ipv4_mapped else other
    if judged.version != network.version or judged not in network:
        assert policy.refusal(str(other)) == POLICY.refusal(str(other))


@given(st.text(max_size=40) | st.text("0123456789abcdef:.x%", max_size=40))
def test_any_text_gets_an_answer_and_only_addresses_pass(text: str) -> None:
    if POLICY.refusal(text) is None:
        ip_address(text)
