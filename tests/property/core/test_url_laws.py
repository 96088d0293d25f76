from ipaddress import ip_address
from urllib.parse import urlsplit

import yarl
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidInput
from posthouse.core.url import Target, literal_address, parse_target

HOSTS = st.one_of(
    st.from_regex(r"[a-z0-9_.-]{1,20}", fullmatch=True),
    st.from_regex(r"[0-9x.]{1,16}", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.text("ab.:@%[]\\/#?é1\x00 ", max_size=12),
)
PORTS = st.sampled_from(["", ":", ":80", ":0", ":65535", ":65536", ":a"])
PATHS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(lambda text: "/" + text) | st.just(
    ""
)
URLS = st.builds(
    lambda scheme, host, port, path: f"{scheme}{host}{port}{path}",
    st.sampled_from(["http://", "https://", "HTTP://", "http:", "//", "ftp://"]),
    HOSTS,
    PORTS,
    PATHS,
)


def parse(url: str) -> Target | None:
    try:
        return parse_target(url)
    except InvalidInput:
        return None


@given(URLS | st.text(max_size=60))
def test_other_parsers_agree_about_every_url_that_is_taken(url: str) -> None:
    """The standard library and the parser of the HTTP client see the same scheme, host and port."""
    target = parse(url)
    if target is None:
        return
    split = urlsplit(url)
    assert (split.scheme, split.port or target.port) == (target.scheme, target.port)
    client = yarl.URL(url)
    assert (client.scheme, client.port) == (target.scheme, target.port)
    for host in (split.hostname, client.host):
        assert host is not None
        if target.is_address:
            assert ip_address(host) == ip_address(target.host)
        else:
            assert host.removesuffix(".") == target.host
    assert split.username is None
    assert client.user is None


@given(URLS)
def test_a_target_is_in_its_canonical_form(url: str) -> None:
    """Written out again it reads the same."""
    target = parse(url)
    if target is None:
        return
    host = f"[{target.host}]" if ":" in target.host else target.host
    assert parse_target(f"{target.scheme}://{host}:{target.port}{target.path}") == target


@given(st.ip_addresses())
def test_a_literal_address_is_found(address: object) -> None:
    text = str(address)
    literal = literal_address(parse_target(f"http://[{text}]/" if ":" in text else f"http://{text}/"))
    assert literal is not None
    assert ip_address(literal) == address


@given(URLS | st.text(max_size=60))
def test_a_name_never_looks_like_an_address(url: str) -> None:
    """What a resolver might take for a number is not passed on as a name."""
    target = parse(url)
    if target is not None and not target.is_address:
        last = target.host.rpartition(".")[2]
        assert not last.isdigit()
        assert not last.startswith("0x") or not all(char in "0123456789abcdef" for char in last[2:])
