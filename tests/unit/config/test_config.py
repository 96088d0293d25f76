"""Laws of the settings: layers, origins, and precise refusals."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from posthouse.config import Config, load_config, settings, shown
from posthouse.core.errors import ConfigurationError


def load(
    flags: dict[str, object] | None = None,
    *,
    environ: dict[str, str] | None = None,
    config_file: Path | None = None,
) -> Config:
    return load_config(flags or {}, environ=environ or {}, config_file=config_file)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "posthouse.toml"
    path.write_text('port = 1\nhost = "::1"\nlog_level = "debug"\n')
    return path


def test_defaults_hold_when_nothing_is_said(tmp_path: Path) -> None:
    config = load({"data": tmp_path})
    assert (config.host, config.port, config.allow_networks) == ("127.0.0.1", 8400, ())
    assert config.origins["port"] == "default"
    assert config.origins["data"] == "--data"


def test_each_layer_overrides_the_one_before_it(toml: Path) -> None:
    """Defaults < file < environment < flags, per setting and not per layer."""
    config = load(
        {"data": toml.parent, "port": 3},
        environ={"POSTHOUSE_PORT": "2", "POSTHOUSE_HOST": "0.0.0.0", "PATH": "/bin"},
    )
    assert (config.port, config.host, config.log_level, config.log_format) == (3, "0.0.0.0", "debug", "auto")
    assert config.origins == {
        **dict.fromkeys(Config.model_fields, "default"),
        "data": "--data",
        "port": "--port",
        "host": "POSTHOUSE_HOST",
        "log_level": str(toml),
    }


def test_flags_that_were_not_given_override_nothing() -> None:
    config = load(
        {"port": None, "allow_networks": ()},
        environ={"POSTHOUSE_PORT": "9", "POSTHOUSE_ALLOW_NETWORKS": "10.0.0.0/8, fd00::/8"},
    )
    assert config.port == 9
    assert config.allow_networks == ("10.0.0.0/8", "fd00::/8")


def test_the_file_is_found_through_flag_variable_and_data_directory(toml: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("port = 7")
    data = str(toml.parent)
    assert load(environ={"POSTHOUSE_DATA": data}).port == 1
    assert load(environ={"POSTHOUSE_DATA": data, "POSTHOUSE_CONFIG": str(other)}).port == 7
    assert load(environ={"POSTHOUSE_CONFIG": str(other)}, config_file=toml).port == 1


def test_paths_in_a_file_are_relative_to_that_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    path = tmp_path / "node.toml"
    path.write_text('data = "state"\nca_file = "ca.pem"\n')
    config = load(config_file=path)
    assert config.data == tmp_path / "state"
    assert config.ca_file == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("flags", "environ", "told"),
    [
        (
            {},
            {"POSTHOUSE_PORT": "70000"},
            "port = '70000' (POSTHOUSE_PORT): Input should be less than",
        ),
        ({}, {"POSTHOUSE_PROT": "1"}, "unknown setting POSTHOUSE_PROT. Did you mean POSTHOUSE_PORT?"),
        ({}, {"POSTHOUSE_LOG_LEVEL": "loud"}, "log_level = 'loud' (POSTHOUSE_LOG_LEVEL)"),
        ({"port": "http"}, {}, "port = 'http' (--port)"),
        ({"port": True}, {}, "must not be true or false"),
        ({"colour": "red"}, {}, "colour is no setting."),
        (
            {"allow_networks": ["10.0.0.1/8"]},
            {},
            "'10.0.0.1/8' has bits outside its mask; the network is 10.0.0.0/8.",
        ),
        ({"allow_networks": ["localhost"]}, {}, "'localhost' is not a network"),
        ({"ca_file": "nowhere.pem"}, {}, "ca_file = 'nowhere.pem' (--ca-file): there is no such file."),
        ({"in_flight_max": 2}, {}, "in_flight_per_endpoint must not be greater than in_flight_max."),
        (
            {"processes": 3, "process_port": 65_534},
            {},
            "process_port leaves no port for 3 processes: the last one is 65535.",
        ),
        (
            {"processes": 3, "process_port": 8_398},
            {},
            "port must not be one of those from process_port on, 8398 to 8400.",
        ),
        ({"drain_seconds": -1}, {}, "drain_seconds = '-1' (--drain-seconds)"),
    ],
)
def test_a_bad_setting_is_refused_with_its_name_value_and_origin(
    flags: dict[str, object], environ: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(flags, environ=environ)
    assert told in caught.value.message


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({"port": -1}, environ={"POSTHOUSE_COMMIT_INTERVAL_MS": "soon"})
    assert [e["path"] for e in caught.value.errors] == ["port", "commit_interval_ms"]


def test_service_links_of_kubernetes_are_explained() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(environ={"POSTHOUSE_SERVICE_HOST": "10.1.2.3"})
    assert "enableServiceLinks" in caught.value.advice


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"port = ", "is not TOML"),
        (b"port = 1\nporf = 2", "unknown setting porf. Did you mean port?"),
        (b'host = "\xff"', "is not UTF-8 text"),
        (b'data = "elsewhere"', "sets data, but it was found through it"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "posthouse.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"posthouse\.toml") as caught:
        load({"data": tmp_path})
    assert told in caught.value.message


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(config_file=tmp_path / "none.toml")


def test_the_tree_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Config().port = 1


def test_values_given_in_code_say_so() -> None:
    assert Config(port=0).origins["port"] == "argument"


def test_every_setting_has_help_and_three_names() -> None:
    for setting in settings():
        assert setting.help.endswith(".")
        assert setting.variable.startswith("POSTHOUSE_")
        assert setting.flag.startswith("--")
    assert [s.name for s in settings()] == list(Config.model_fields)


# -- the address of a database has a password in it -------------------------------------------


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql://app:hunter2@db:6432/post", "postgresql://app:***@db:6432/post"),
        ("postgres://app:hunt/er?2@x@db/post?pgbouncer=true", "postgres://app:***@db/post?pgbouncer=true"),
        (
            "postgresql:///post?host=/run&password=hunter2&user=app",
            "postgresql:///post?host=/run&password=***&user=app",
        ),
        ("postgresql://app@db/post?sslpassword=hunter2", "postgresql://app@db/post?sslpassword=***"),
        ("postgresql://db/post", "postgresql://db/post"),
    ],
)
def test_the_password_of_the_database_is_never_shown(address: str, told: str) -> None:
    config = load(environ={"POSTHOUSE_DATABASE": address})
    assert config.database is not None
    assert config.database.get_secret_value() == address
    assert shown(config.database) == config.model_dump(mode="json")["database"] == told
    assert "hunt" not in repr(config)


@pytest.mark.parametrize("address", ["host=db password=hunter2", "mysql://app:hunter2@db/post", "hunter2"])
def test_what_is_no_address_of_a_database_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ConfigurationError, match="POSTHOUSE_DATABASE") as caught:
        load(environ={"POSTHOUSE_DATABASE": address})
    assert "hunter2" not in f"{caught.value.message} {caught.value.errors} {caught.value.__cause__}"


def test_a_secret_setting_is_never_shown(tmp_path: Path) -> None:
    config = load({"data": tmp_path}, environ={"POSTHOUSE_OUTBOX": "postgresql://me:hush@db/shop"})
    assert config.outbox is not None
    assert config.outbox.get_secret_value() == "postgresql://me:hush@db/shop"
    assert "hush" not in f"{config!r} {shown(config.outbox)} {config.model_dump_json()}"
    path = tmp_path / "bad.toml"
    path.write_text('outbox = ["hush"]')
    with pytest.raises(ConfigurationError) as refused:
        load({"data": tmp_path}, config_file=path)
    assert "outbox" in refused.value.message
    assert "hush" not in refused.value.message
