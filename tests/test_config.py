"""The configuration file: what is taken, and how its mistakes are told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sharedmodel.errors import BadArgument
from sharedmodel.server.config import ConfigError, checked_spec, embedded, load
from sharedmodel.server.settings import ModelSettings, Settings

MODEL = '[models.m]\nfactory = "zoo:Echo"\n'


def written(directory: Path, text: str) -> Path:
    path = directory / "config.toml"
    path.write_text(text)
    return path


def test_paths_count_from_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.onnx").touch()
    path = written(tmp_path, '[server]\nruntime_dir = "run"\n[models.net]\nkind = "onnx"\npath = "net.onnx"\n')
    monkeypatch.chdir("/")
    settings = load(os.path.relpath(path, "/"))
    assert settings.runtime_dir == str(tmp_path / "run")
    assert settings.models["net"].options == {"path": str(tmp_path / "net.onnx")}
    assert settings.folder == str(tmp_path)


def test_a_factory_comes_with_its_arguments(tmp_path: Path) -> None:
    text = (
        '[models.mine]\nfactory = "pack.mod:Class.make"\nargs = [1, "two"]\n'
        'exposed = ["add"]\nidempotent = ["add"]\n[models.mine.kwargs]\nsize = 3\n'
    )
    assert load(written(tmp_path, text)).models["mine"] == ModelSettings(
        factory="pack.mod:Class.make", args=[1, "two"], kwargs={"size": 3}, exposed=["add"], idempotent=["add"]
    )


@pytest.mark.parametrize(
    ("text", "size"), [("5000", 5000), ('"512 MB"', 512_000_000), ('"4GiB"', 4 << 30), ('"1.5 k"', 1500)]
)
def test_sizes_may_have_units(tmp_path: Path, text: str, size: int) -> None:
    assert load(written(tmp_path, f"[server]\nreply_quota = {text}\n{MODEL}")).reply_quota == size


def test_options_that_an_adapter_hands_on_are_taken_as_they_are(tmp_path: Path) -> None:
    text = '[models.ocr]\nkind = "cnocr"\nthreads = 2\ndet_more_configs = {use_angle_clf = true}\n'
    assert load(written(tmp_path, text)).models["ocr"].options == {
        "threads": 2,
        "det_more_configs": {"use_angle_clf": True},
    }


def test_settings_come_through_json_unchanged(tmp_path: Path) -> None:
    settings = load(written(tmp_path, f'[server]\nlog_level = "debug"\nidle_exit = 2.5\n{MODEL}kwargs = {{a = [1]}}\n'))
    assert Settings.from_json(settings.to_json()) == settings
    assert json.loads(settings.to_json())["idle_exit"] == 2.5


def test_an_embedded_server_ends_when_idle_and_follows_its_user() -> None:
    settings = embedded()
    assert settings.idle_exit == 60
    assert "HF_HUB_OFFLINE" not in settings.environment().keys() - os.environ.keys()


def test_a_configured_server_is_offline_unless_told_otherwise(tmp_path: Path) -> None:
    assert load(written(tmp_path, MODEL)).environment()["HF_HUB_OFFLINE"] == "1"
    online = load(written(tmp_path, "[server]\noffline = false\n" + MODEL))
    assert "HF_HUB_OFFLINE" not in online.environment().keys() - os.environ.keys()


MISTAKES = [
    ("models", "no TOML at all = =", "not TOML"),
    ("server.idel_exit", "[server]\nidel_exit = 3\n" + MODEL, "did you mean 'idle_exit'"),
    ("server.grace", '[server]\ngrace = "long"\n' + MODEL, "valid number, not 'long'"),
    ("server.idle_exit", "[server]\nidle_exit = -1\n" + MODEL, "greater than or equal to 0"),
    ("server.sessions", "[server]\nsessions = 0\n" + MODEL, "greater than 0"),
    ("server.offline", '[server]\noffline = "yes"\n' + MODEL, "valid boolean"),
    ("server.log_level", '[server]\nlog_level = "loud"\n' + MODEL, "'debug', 'info', 'warning' or 'error'"),
    ("server.reply_quota", '[server]\nreply_quota = "12 XB"\n' + MODEL, '"512 MB"'),
    ("server.group", '[server]\ngroup = "no-such-group"\n' + MODEL, "no group 'no-such-group'"),
    ("server.authkey_file", '[server]\nauthkey_file = "none"\n' + MODEL, "No such file"),
    ("server", "server = 3\n" + MODEL, "server"),
    ("sever", "[sever]\n" + MODEL, "did you mean 'server'"),
    ("models", "", "no model to serve"),
    ("models", "models = 3\n", "[models.NAME]"),
    ("models.m", "[models]\nm = 3\n", "[models.NAME]"),
    ("models.m", "[models.m]\n", "either `kind`"),
    ("models.m", '[models.m]\nkind = "onnx"\nfactory = "a:b"\n', "either `kind`"),
    ("models.#m", '[models."#m"]\nfactory = "a:b"\n', "a model's name has"),
    ("models.m.kind", '[models.m]\nkind = "onx"\n', "did you mean 'onnx'"),
    ("models.m.kind", "[models.m]\nkind = 3\n", "allowed: onnx, cnocr"),
    ("models.m.path", '[models.m]\nkind = "onnx"\n', "is missing"),
    ("models.m.path", '[models.m]\nkind = "onnx"\npath = "gone.onnx"\n', "no such file or folder"),
    ("models.m.thread", '[models.m]\nkind = "onnx"\npath = "."\nthread = 1\n', "did you mean 'threads'"),
    ("models.m.threads", '[models.m]\nkind = "cnocr"\nthreads = "all"\n', "valid integer, not 'all'"),
    ("models.m.factory", '[models.m]\nfactory = "zoo.Echo"\n', '"package.module:callable"'),
    ("models.m.factory", "[models.m]\nfactory = 3\n", "valid string"),
    ("models.m.arg", '[models.m]\nfactory = "zoo:Echo"\narg = 1\n', "did you mean 'args'"),
    ("models.m.kwargs", '[models.m]\nfactory = "zoo:Echo"\nkwargs = {day = 2020-01-01}\n', "JSON"),
    ("models.m.exposed", '[models.m]\nfactory = "zoo:Echo"\nexposed = "add"\n', "valid list, not 'add'"),
]


@pytest.mark.parametrize(
    ("key", "text", "told"), MISTAKES, ids=[f"{key}-{index}" for index, (key, *_) in enumerate(MISTAKES)]
)
def test_a_mistake_is_told_with_file_key_and_what_is_allowed(tmp_path: Path, key: str, text: str, told: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        load(path)
    line = str(raised.value)
    assert line.startswith(f"{path}: ") and told in line
    assert "not TOML" in line or f"{path}: {key}: " in line


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, '[server]\ngrase = 1\n[models.a]\nkind = "onx"\n[models.b]\nfactory = "b"\n')
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert len(str(raised.value).splitlines()) == 3


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(0o644)
    path = written(tmp_path, '[server]\nauthkey_file = "key"\n' + MODEL)
    with pytest.raises(ConfigError, match="chmod 600"):
        load(path)
    key.chmod(0o600)
    assert load(path).authkey_file == str(key)


def test_a_file_that_is_not_there_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.toml")


def test_a_client_names_files_by_their_absolute_path_and_never_code(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").touch()
    path = str(tmp_path / "net.onnx")
    assert checked_spec("net", {"kind": "onnx", "path": path}).options == {"path": path}
    for spec in ({"kind": "onnx", "path": "net.onnx"}, {"factory": "os:system"}, {"kind": "os:system"}, [], {}):
        with pytest.raises(BadArgument):
            checked_spec("net", spec)
    with pytest.raises(BadArgument, match="no name for a model"):
        checked_spec("#models", {"kind": "cnocr"})
