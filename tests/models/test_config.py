"""Configuration: where each value comes from, and how a wrong one is refused."""

from __future__ import annotations

import copy
import dataclasses
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import platformdirs
import pytest

from casmodels.config import HUB_ENDPOINT, Config, Endpoint, Inference, Secret, default_view_path, inference, load
from casmodels.errors import ConfigurationError

Loader: TypeAlias = Callable[..., Config]
_HUB = Endpoint(HUB_ENDPOINT)


@pytest.fixture
def given(tmp_path: Path) -> Loader:
    """Load a configuration file of some text, in an environment of just the variables given."""

    def load_text(text: str = "", store: Path | None = None, **environ: str) -> Config:
        file = tmp_path / "etc" / "casmodels.toml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return load(store=store, environ={"CASMODELS_CONFIG": str(file), **environ})

    return load_text


def test_without_anything_the_defaults_are_the_platforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: tmp_path / "config")
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: tmp_path / "data")
    config = load(environ={})
    assert config.config_file == tmp_path / "config/config.toml"
    assert config.store_path == tmp_path / "data/store"
    assert default_view_path(config.store_path) == tmp_path / "data/store-view"
    assert config.endpoints == (_HUB,)
    assert (config.offline, config.no_color, config.json_logs, config.low_priority) == (False, False, False, True)
    assert config.deltas
    assert config.workers is None
    assert config.models == ()


def test_the_store_comes_from_the_command_line_then_the_environment_then_the_file(
    given: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = 'store = "../configured"'
    assert given(text, Path("told"), CASMODELS_HOME="/env").store_path == tmp_path / "told"
    assert given(text, CASMODELS_HOME="env").store_path == tmp_path / "env"
    assert given(text, CASMODELS_HOME="").store_path == tmp_path / "configured"
    assert given('store = "~/m"').store_path == Path("~/m").expanduser()


def test_a_view_lies_beside_the_link_that_was_named(given: Loader, tmp_path: Path) -> None:
    (tmp_path / "real/store").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/store")
    path = given(CASMODELS_HOME=str(tmp_path / "link")).store_path
    assert default_view_path(path) == tmp_path / "link-view"


@pytest.mark.parametrize(
    ("text", "environ", "endpoints"),
    [
        ("", {"HF_ENDPOINT": "http://hub:8080/hf/"}, (Endpoint("http://hub:8080/hf"),)),
        ("", {"HF_MIRROR": "https://m"}, (Endpoint("https://m", mirror=True), _HUB)),
        ("", {"HF_MIRROR": "https://m", "HF_ENDPOINT": "https://e"}, (Endpoint("https://e"),)),
        ("", {"HF_MIRROR": "", "HF_ENDPOINT": ""}, (_HUB,)),
        ('endpoint = "https://f"', {}, (Endpoint("https://f"),)),
        ('mirror = "https://f"', {}, (Endpoint("https://f", mirror=True), _HUB)),
        ('mirror = "https://f"\nendpoint = "https://g"', {}, (Endpoint("https://g"),)),
        ('endpoint = "https://f"', {"HF_MIRROR": "https://m"}, (Endpoint("https://m", mirror=True), _HUB)),
        ('mirror = "https://f"', {"HF_ENDPOINT": "https://e"}, (Endpoint("https://e"),)),
    ],
)
def test_a_mirror_is_asked_first_the_hub_second_and_an_endpoint_beats_both(
    given: Loader, text: str, environ: dict[str, str], endpoints: tuple[Endpoint, ...]
) -> None:
    config = given(text, **environ)
    assert config.endpoints == endpoints
    assert config.endpoint == endpoints[-1].url
    assert config.mirror == (endpoints[0].url if len(endpoints) == 2 else None)


@pytest.mark.parametrize(
    "url", ["hub", "hub:80", "ftp://hub", "https://", "https://h h", "https://h:x", "https://h:0", "https://h?a", "h\n"]
)
def test_a_bad_address_is_refused_with_its_place(given: Loader, url: str) -> None:
    for variable in ("HF_ENDPOINT", "HF_MIRROR"):
        with pytest.raises(ConfigurationError, match=variable):
            given(**{variable: url})
    quoted = url.replace("\n", "\\n")
    with pytest.raises(ConfigurationError, match=r"casmodels\.toml, line 2, mirror: "):
        given(f'# a comment\nmirror = "{quoted}"')


def test_an_address_with_a_password_is_refused_without_showing_it(given: Loader) -> None:
    with pytest.raises(ConfigurationError) as caught:
        given(HF_ENDPOINT="https://user:hunter2@hub")
    assert "hunter2" not in f"{caught.value} {caught.value.remedy}"


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("true", True), ("YES", True), ("on", True), ("0", False), ("", False)]
)
def test_offline_is_what_the_hubs_client_takes_for_true(given: Loader, value: str, offline: bool) -> None:
    assert given(HF_HUB_OFFLINE=value).offline is offline


def test_log_files_come_from_the_program_then_the_environment_then_the_file(
    given: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert given().logs is None
    assert given('logs = "../configured"').logs == tmp_path / "configured"
    assert given('logs = "../configured"', CASMODELS_LOGS="env").logs == tmp_path / "env"
    assert load(logs=Path("told"), environ={"CASMODELS_LOGS": "env"}).logs == tmp_path / "told"
    with pytest.raises(ConfigurationError, match="logs: must be a string, not 3"):
        given("logs = 3")
    with pytest.raises(ConfigurationError, match="store/logs lie inside the store"):
        given(CASMODELS_HOME="store", CASMODELS_LOGS="store/logs")


def test_colour_and_logs(given: Loader) -> None:
    assert given(NO_COLOR="1").no_color
    assert not given(NO_COLOR="").no_color
    assert given(CASMODELS_LOG="json").json_logs
    assert not given(CASMODELS_LOG="text").json_logs
    with pytest.raises(ConfigurationError, match="CASMODELS_LOG"):
        given(CASMODELS_LOG="xml")


def test_the_token_is_the_variable_else_the_file_where_the_hubs_client_keeps_it(
    given: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "hf", tmp_path / "token"
    home.mkdir()
    (home / "token").write_text("hf_home\n")
    elsewhere.write_text(" hf_path\r\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    environ = {"HF_HOME": str(home), "HF_TOKEN_PATH": str(elsewhere), "HF_TOKEN": "hf_variable\n"}
    assert given(**environ).token() == Secret("hf_variable")
    assert given(**environ, HF_HUB_DISABLE_IMPLICIT_TOKEN="1").token() is None
    del environ["HF_TOKEN"]
    assert given(**environ).token() == Secret("hf_path")
    assert given(**environ, HUGGING_FACE_HUB_TOKEN="hf_old").token() == Secret("hf_old")
    del environ["HF_TOKEN_PATH"]
    assert given(**environ).token() == Secret("hf_home")
    assert given(HF_HOME="$BASE/hf", BASE=str(tmp_path)).token() == Secret("hf_home")
    assert given(XDG_CACHE_HOME="/cache").token_file == Path("/cache/huggingface/token")
    assert given().token_file == tmp_path / ".cache/huggingface/token"
    assert given().token() is None


def test_the_token_file_is_read_only_when_the_token_is_needed(given: Loader, tmp_path: Path) -> None:
    (tmp_path / "token").mkdir()
    config = given(HF_TOKEN_PATH=str(tmp_path / "token"))
    with pytest.raises(ConfigurationError, match="token"):
        config.token()


@pytest.mark.parametrize("content", ["two words", "naïve", "a\tb", "\x00"])
def test_what_is_no_token_is_refused_without_showing_it(given: Loader, tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content, encoding="utf-8")
    for config in (given(HF_TOKEN=content), given(HF_TOKEN_PATH=str(file))):
        with pytest.raises(ConfigurationError) as caught:
            config.token()
        assert content not in str(caught.value)


def test_the_token_shows_nowhere(given: Loader, caplog: pytest.LogCaptureFixture) -> None:
    config = given(HF_TOKEN="hf_verysecret")
    token = config.token()
    assert token is not None
    logging.getLogger("test").warning("%s %r %s", config, token, dataclasses.replace(config, workers=2))
    shown = f"{config!r} {config} {token} {[token]} {vars(type(token))} {caplog.text}"
    assert "verysecret" not in shown
    assert token.reveal() == "hf_verysecret"
    for write in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            write(token)


def test_settings_of_the_file_count(given: Loader) -> None:
    config = given("workers = 3\nlow_priority = false\ndeltas = false")
    assert (config.workers, config.low_priority, config.deltas) == (3, False, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workers = ", "line 1: Invalid value"),
        ("\n\nstore = 'a\n", "line 3"),
        ("a = 1\na = 2\n", "line 2"),
        ("a = 1\n[b", "line 2: "),
        ("workers = " + "9" * 5000, "digits"),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("# ok\ncolour = 'red'", "line 2, colour: unknown setting"),
        ("[store]\npath = 'a'", "line 1, [store]: must be a string"),
        ("store = 3", "line 1, store: must be a string, not 3"),
        ("workers = true", "line 1, workers: must be a whole number"),
        ("workers = 0", "line 1, workers: must be from 1 to 64"),
        ("workers = 65", "line 1, workers: must be from 1 to 64"),
        ("low_priority = 1", "line 1, low_priority: must be true or false"),
        ("models = []", "line 1, models: must be a table of tables"),
        ("[[models]]", "line 1, models: must be a table of tables"),
        ("[models]\n# one\nmine = 3", "line 3, models.mine: must be a table"),
        ("store = '~no-such-user-here/m'", "home directory"),
        ("store = '/'", "cannot be a store"),
    ],
)
def test_a_malformed_file_is_refused_with_line_and_entry(given: Loader, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        given(text)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_bytes_that_are_no_text_are_refused_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"workers = 2\nstore = '\xff'\n")
    with pytest.raises(ConfigurationError, match="line 2: not UTF-8"):
        load(config_file=file, environ={})


def test_a_file_that_was_named_must_be_there_and_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no configuration file"):
        load(environ={"CASMODELS_CONFIG": str(tmp_path / "none.toml")})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(environ={"CASMODELS_CONFIG": str(tmp_path)})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(environ={"CASMODELS_CONFIG": str(tmp_path / ("x" * 300))})
    assert load(environ={"CASMODELS_CONFIG": "/dev/null"}).models == ()


def test_the_configuration_file_may_not_lie_in_the_store(given: Loader, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="inside the store"):
        given(CASMODELS_HOME=str(tmp_path))
    assert given(CASMODELS_HOME=str(tmp_path / "et")).store_path == tmp_path / "et"


def test_tables_of_models_carry_the_place_where_they_stand(given: Loader) -> None:
    text = 'workers = 1\n\n[models."a.b"]  # dotted\ntype = "instruct"\n[models]\nc.type = "x"\nd = {type = "y"}'
    tables = given(text).models
    assert [(table.id, dict(table.fields)) for table in tables] == [
        ("a.b", {"type": "instruct"}),
        ("c", {"type": "x"}),
        ("d", {"type": "y"}),
    ]
    assert [table.where.partition(", ")[2] for table in tables] == [
        "line 3, [models.a.b]",
        "line 6, [models.c]",
        "line 7, [models.d]",
    ]


def test_how_models_are_run() -> None:
    assert inference({}) == Inference(use_gpu=True, batch_size=8)
    assert inference({"USE_GPU": "", "BATCH_SIZE": ""}) == Inference()
    assert inference({"USE_GPU": "False", "BATCH_SIZE": "32"}) == Inference(use_gpu=False, batch_size=32)
    for variable, values in {"USE_GPU": ["2", "maybe"], "BATCH_SIZE": ["0", "-1", "8.0", "٣", "1" * 10]}.items():
        for value in values:
            with pytest.raises(ConfigurationError, match=variable):
                inference({variable: value})
