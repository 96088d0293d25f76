"""Which addresses may be called: the pure half of the guard against server-side request forgery.

A table of our own, because what ``ipaddress`` calls global changes between Python releases and
includes ways into private networks (NAT64, 6to4, IPv4-compatible, site-local, multicast). IPv4 is
allowed but for the table. IPv6 is allowed only inside 2000::/3, and there but for the table. Sources:
the IANA special-purpose address registries, and what cloud providers document about their metadata
services.
"""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from posthouse.core.errors import ConfigurationError

#: What :meth:`AddressPolicy.refusal` says of text that is no address.
NOT_AN_ADDRESS: Final = "not_an_address"
#: What it says of IPv6 outside 2000::/3 that has no name of its own.
NOT_GLOBAL: Final = "not_global_unicast"

_DENIED_V4: Final[Mapping[str, str]] = {
    "0.0.0.0/8": "this_network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "carrier_grade_nat",
    "100.100.100.200/32": "cloud_metadata",  # Alibaba Cloud
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "cloud_metadata",  # Azure; a public address that each virtual machine finds its host at
    "169.254.0.0/16": "link_local",
    "169.254.169.254/32": "cloud_metadata",  # AWS, Google Cloud, Azure, Oracle, DigitalOcean and others
    "169.254.170.2/32": "cloud_metadata",  # AWS ECS task credentials
    "169.254.170.23/32": "cloud_metadata",  # AWS EKS pod identity
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "protocol_assignments",
    "192.0.0.192/32": "cloud_metadata",  # Oracle Cloud, classic
    "192.0.2.0/24": "documentation",
    "192.88.99.0/24": "6to4_relay",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "255.255.255.255/32": "broadcast",
}

_DENIED_V6: Final[Mapping[str, str]] = {
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::/96": "v4_compatible",
    "::ffff:0:0:0/96": "v4_translated",
    "64:ff9b::/96": "nat64",
    "64:ff9b:1::/48": "nat64",
    "100::/64": "discard",
    "100:0:0:1::/64": "dummy_prefix",
    "2001::/23": "protocol_assignments",
    "2001::/32": "teredo",
    "2001:2::/48": "benchmarking",
    "2001:10::/28": "orchid",
    "2001:20::/28": "orchid",
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4",
    "3fff::/20": "documentation",
    "5f00::/16": "segment_routing",
    "fc00::/7": "unique_local",
    "fd00:ec2::23/128": "cloud_metadata",  # AWS EKS pod identity
    "fd00:ec2::254/128": "cloud_metadata",  # AWS
    "fd20:ce::254/128": "cloud_metadata",  # Google Cloud
    "fe80::/10": "link_local",
    "fec0::/10": "site_local",
    "ff00::/8": "multicast",
}

_V4_BITS: Final = 32
_V6_BITS: Final = 128
_GLOBAL_SHIFT: Final = 125
_GLOBAL_PREFIX: Final = 0b001  # 2000::/3


class _Prefixes:
    """Longest-prefix match: one dictionary look-up for each prefix length that occurs."""

    __slots__ = ("_by_shift",)

    def __init__(self, bits: int, rules: Iterable[tuple[IPv4Network | IPv6Network, str]]) -> None:
        by_shift: dict[int, dict[int, str]] = {}
        for network, name in rules:
            shift = bits - network.prefixlen
            by_shift.setdefault(shift, {})[int(network.network_address) >> shift] = name
        self._by_shift = tuple(sorted(by_shift.items()))

    def find(self, value: int) -> str | None:
        """The name of the narrowest network that holds ``value``."""
        for shift, names in self._by_shift:
            name = names.get(value >> shift)
            if name is not None:
                return name
        return None


_DENY_V4: Final = _Prefixes(_V4_BITS, ((IPv4Network(text), name) for text, name in _DENIED_V4.items()))
_DENY_V6: Final = _Prefixes(_V6_BITS, ((IPv6Network(text), name) for text, name in _DENIED_V6.items()))


class AddressPolicy:
    """Which addresses a node may call.

    Args:
        allow: networks (CIDR) or addresses that may be called although the table denies them. An IPv4
            network covers the IPv4-mapped form of its addresses too; an IPv6 network covers IPv6 only,
            unless it is itself IPv4-mapped.

    Raises:
        ConfigurationError: if an item of ``allow`` is no network.
    """

    __slots__ = ("_allow_v4", "_allow_v6")

    def __init__(self, allow: Sequence[str] = ()) -> None:
        networks = [_parse_network(text) for text in allow]
        self._allow_v4 = _Prefixes(_V4_BITS, ((n, str(n)) for n in networks if isinstance(n, IPv4Network)))
        self._allow_v6 = _Prefixes(_V6_BITS, ((n, str(n)) for n in networks if isinstance(n, IPv6Network)))

    def refusal(self, address: str) -> str | None:
        """The name of the rule that refuses ``address`` (IPv4 or IPv6, numeric), or None if it may be called."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return NOT_AN_ADDRESS
        if isinstance(parsed, IPv6Address):
            if parsed.ipv4_mapped is None:
                return self._refusal_v6(int(parsed))
            parsed = parsed.ipv4_mapped
        return self._refusal_v4(int(parsed))

    def _refusal_v4(self, value: int) -> str | None:
        name = _DENY_V4.find(value)
        return None if name is None or self._allow_v4.find(value) is not None else name

    def _refusal_v6(self, value: int) -> str | None:
        name = _DENY_V6.find(value)
        if name is None and value >> _GLOBAL_SHIFT != _GLOBAL_PREFIX:
            name = NOT_GLOBAL
        return None if name is None or self._allow_v6.find(value) is not None else name


def _parse_network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ConfigurationError(
            f"'{text}' is not a network: {error}.", hint="Write a network such as 127.0.0.0/8 or fd00::/8."
        ) from error
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is not None and network.prefixlen >= _V6_BITS - _V4_BITS:
        return IPv4Network((mapped, network.prefixlen - (_V6_BITS - _V4_BITS)))
    return network
