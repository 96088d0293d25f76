import pytest

from posthouse.core.errors import InvalidInput
from posthouse.core.limits import URL_CHARS_MAX
from posthouse.core.url import Target, literal_address, parse_target


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target("https", "example.com", 443, "/", is_address=False)),
        ("http://example.com", Target("http", "example.com", 80, "/", is_address=False)),
        ("https://example.com/", Target("https", "example.com", 443, "/", is_address=False)),
        ("https://example.com/a/b?c=d&e", Target("https", "example.com", 443, "/a/b?c=d&e", is_address=False)),
        ("https://example.com?c=d", Target("https", "example.com", 443, "/?c=d", is_address=False)),
        ("https://example.com/a@b:c", Target("https", "example.com", 443, "/a@b:c", is_address=False)),
        ("https://example.com/%C3%A4%5C", Target("https", "example.com", 443, "/%C3%A4%5C", is_address=False)),
        ("HTTPS://EXAMPLE.Com:8443/A", Target("https", "example.com", 8443, "/A", is_address=False)),
        ("https://example.com./", Target("https", "example.com", 443, "/", is_address=False)),
        ("http://localhost:1", Target("http", "localhost", 1, "/", is_address=False)),
        ("http://my_service:65535/x", Target("http", "my_service", 65_535, "/x", is_address=False)),
        ("http://xn--bcher-kva.example", Target("http", "xn--bcher-kva.example", 80, "/", is_address=False)),
        ("http://1a.2b", Target("http", "1a.2b", 80, "/", is_address=False)),
        ("http://127.0.0.1.example", Target("http", "127.0.0.1.example", 80, "/", is_address=False)),
        ("http://127.0.0.1:8080/x", Target("http", "127.0.0.1", 8080, "/x", is_address=True)),
        ("http://[::1]/", Target("http", "::1", 80, "/", is_address=True)),
        ("http://[2001:DB8:0::1]:99/", Target("http", "2001:db8::1", 99, "/", is_address=True)),
    ],
)
def test_urls_that_are_taken(url: str, target: Target) -> None:
    assert parse_target(url) == target


def test_the_literal_address_is_the_host_that_needs_no_resolver() -> None:
    assert literal_address(parse_target("http://[::1]:80/")) == "::1"
    assert literal_address(parse_target("http://10.0.0.1/")) == "10.0.0.1"
    assert literal_address(parse_target("http://localhost/")) is None


REFUSED = {
    "url_missing": [""],
    "url_too_long": ["https://example.com/" + "a" * URL_CHARS_MAX],
    "url_not_ascii": [
        "https://bücher.example/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://example。com/",
        "https://example.com/ä",
        "https://exam\u00adple.com/",
    ],
    "url_characters": [
        " https://example.com",
        "https://example.com ",
        "https://exam ple.com",
        "https://example.com/a b",
        "https://example.com/\r\nHost: x",
        "https://exam\tple.com",
        "https://example.com/\x00",
        "https://example.com/\x7f",
        "http://a.com\\@127.0.0.1/",
        "http:\\\\example.com",
        "https://example.com/a\\b",
    ],
    "url_fragment": ["https://example.com/#a", "https://example.com#", "https://example.com/?a#b", "#"],
    "url_scheme": [
        "example.com",
        "//example.com",
        "/path",
        "ftp://example.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http:/example.com",
        "http:example.com",
        "unix://socket",
        "://example.com",
        "1http://example.com",
        "http+unix://example.com",
    ],
    "url_credentials": [
        "https://user@example.com",
        "https://user:pass@example.com",
        "https://@example.com",
        "http://a@b@c",
    ],
    "url_host": [
        "https://",
        "https:///path",
        "https://:443/",
        "https://.",
        "https://..",
        "https://example..com",
        "https://.example.com",
        "https://example.com..",
        "https://-example.com",
        "https://example-.com",
        "https://exa%6dple.com",
        "https://127.0.0.1%2f",
        "https://exam!ple.com",
        "https://exam*ple.com",
        "https://a,b",
        "https://" + "a" * 64 + ".com",
        "https://" + ".".join(["a" * 60] * 5),
        "http://::1/",
        "http://[::1",
        "http://::1]",
        "http://[::1]x",
        "http://[]/",
        "http://[::g]/",
        "http://[127.0.0.1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[[::1]]/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0x/",
        "http://0X7F.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.01/",
        "http://127.0.0.1./",
        "http://127.0.0.0x1/",
        "http://1.2.3.4.5/",
        "http://256.0.0.1/",
        "http://0/",
        "http://example.123/",
        "http://a.b.0x7f/",
    ],
    "url_port": [
        "https://example.com:",
        "https://example.com:/",
        "https://example.com:0",
        "https://example.com:080",
        "https://example.com:65536",
        "https://example.com:99999999999",
        "https://example.com:+80",
        "https://example.com:-1",
        "https://example.com:80a",
        "https://example.com:http",
        "http://[::1]:/",
        "http://example.com:80:90/",
    ],
}


@pytest.mark.parametrize(("code", "url"), [(code, url) for code, urls in REFUSED.items() for url in urls])
def test_urls_that_are_refused_say_what_is_wrong(code: str, url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_target(url)
    (error,) = caught.value.errors
    assert (error["path"], error["code"]) == ("url", code)
    assert caught.value.advice != InvalidInput.hint
