"""The configuration file: what is taken, and how its mistakes are told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sharedmodel.errors import BadArgument
from sharedmodel.server.config import ConfigError, checked_spec, embedded, load
from sharedmodel.server.scheduling.settings import Scheduling
from sharedmodel.server.settings import ModelSettings, ProbeSettings, Settings, Upkeep

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
    found = load(written(tmp_path, f"[server]\nreply_quota = {text}\nmemory = {text}\n{MODEL}"))
    assert found.reply_quota == found.memory == size
    assert Settings.from_json(found.to_json()) == found


def test_gpus_have_budgets_and_models_devices(tmp_path: Path) -> None:
    text = (
        '[server]\ndevices = {"cuda:0" = "20 GiB", "cuda:1" = 5000}\n'
        '[models.a]\nkind = "onnx"\npath = "."\ndevice = "cuda:1"\ndevice_memory = 7\n'
        '[models.b]\nkind = "cnocr"\ndevice = "cpu"\n'
        '[models.c]\nfactory = "zoo:Echo"\ndefault = "1"\nversions.1 = {device = "cuda"}\nversions.2 = {}\n'
    )
    found = load(written(tmp_path, text))
    assert found.devices == {"cuda:0": 20 << 30, "cuda:1": 5000}
    assert [found.models[name].device for name in "abc"] == ["cuda:1", "cpu", "cuda"]
    assert found.models["a"].options == {"path": str(tmp_path), "device_memory": 7}
    assert found.models["c"].versions["2"].device is None
    assert Settings.from_json(found.to_json()) == found
    assert found.environment()["CUDA_DEVICE_ORDER"] == os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


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


def test_integers_have_64_bits(tmp_path: Path) -> None:
    text = f"{MODEL}kwargs = {{most = {2**63 - 1}, least = {-(2**63)}}}\n"
    assert load(written(tmp_path, text)).models["m"].kwargs == {"most": 2**63 - 1, "least": -(2**63)}


MISTAKES = [
    ("models", "no TOML at all = =", "not TOML"),
    ("server.idel_exit", "[server]\nidel_exit = 3\n" + MODEL, "did you mean 'idle_exit'"),
    ("server.grace", '[server]\ngrace = "long"\n' + MODEL, "valid number, not 'long'"),
    ("server.grace", "[server]\ngrace = inf\n" + MODEL, "less than or equal to 86400, not inf"),
    ("server.grace", "[server]\ngrace = 1e9\n" + MODEL, "less than or equal to 86400"),
    ("server.idle_exit", "[server]\nidle_exit = -1\n" + MODEL, "greater than or equal to 0"),
    ("server.sessions", "[server]\nsessions = 0\n" + MODEL, "greater than 0"),
    ("server.offline", '[server]\noffline = "yes"\n' + MODEL, "valid boolean"),
    ("server.log_level", '[server]\nlog_level = "loud"\n' + MODEL, "'debug', 'info', 'warning' or 'error'"),
    ("server.memory", '[server]\nmemory = "all"\n' + MODEL, '"4 GiB"'),
    ("server.memory", "[server]\nmemory = 0\n" + MODEL, '"4 GiB"'),
    ("server.memory", f'[server]\nmemory = "{"9" * 400}"\n' + MODEL, '"4 GiB"'),
    ("server.memory", f"[server]\nmemory = {10**30}\n" + MODEL, "(64 bits)"),
    ("server.group", f"[server]\ngroup = {-(2**63) - 1}\n" + MODEL, "(64 bits)"),
    ("models.m.kwargs.size.most", MODEL + f"kwargs = {{size = {{most = [1, {2**63}]}}}}\n", "to 9223372036854775807"),
    ("models.m.canary.args", MODEL + f"canary = [{{args = [0x{'f' * 5000}]}}]\n", "from -9223372036854775808 to"),
    ("models", f"size = {'9' * 5000}\n", "not TOML"),
    ("server.devices", '[server]\ndevices = {"cuda" = "1 GB"}\n' + MODEL, "a GPU is named \"cuda:0\", not 'cuda'"),
    ("server.devices", '[server]\ndevices = {"cuda:0" = "all"}\n' + MODEL, '"4 GiB"'),
    ("server.devices", '[server]\ndevices = ["cuda:0"]\n' + MODEL, "valid dictionary"),
    ("models.m.device", MODEL + 'device = "gpu"\n', "\"cuda:0\" (a certain one), not 'gpu'"),
    ("models.m.device", MODEL + 'device = "cuda:01"\n', "not 'cuda:01'"),
    ("models.m.device", MODEL + "device = 0\n", "valid string"),
    ("models.m.kwargs", MODEL + 'device = "cuda"\nkwargs = {device = "cpu"}\n', "by the key of its own"),
    ("models.m.device", '[models.m]\nkind = "cnocr"\ndevice = "cuda"\n', 'runs on "cpu" only; on GPUs run: onnx, emb'),
    ("models.m.device_memory", '[models.m]\nkind = "onnx"\npath = "."\ndevice_memory = 5\n', "say on which by"),
    (
        "models.m.providers",
        '[models.m]\nkind = "onnx"\npath = "."\ndevice = "cuda"\nproviders = ["CPUExecutionProvider"]\n',
        '`device = "cuda"` says where it runs already',
    ),
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
    ("models.m.canary_evry", '[models.m]\nfactory = "zoo:Echo"\ncanary_evry = 1\n', "did you mean 'canary_every'"),
    ("models.m.laxy", '[models.m]\nkind = "onnx"\npath = "."\nlaxy = true\n', "did you mean 'lazy'"),
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


UPKEEP_MISTAKES = [
    ("lazy", 'lazy = "yes"', "valid boolean"),
    ("keep", "keep = 1", "valid boolean"),
    ("ttl", "ttl = 0", "greater than 0"),
    ("ttl", 'ttl = "long"', "valid number"),
    ("canary_every", "canary_every = -1", "greater than or equal to 0"),
    ("canary", "canary = true", "a table {method, args, kwargs, expect}, a list of such tables, or false"),
    ("canary", "canary = [3]", "a list of such tables"),
    ("canary.metod", 'canary = {metod = "run"}', "did you mean 'method'"),
    ("canary.args", "canary = {args = 3}", "valid list, not 3"),
    ("canary.args", 'canary = {args = ["@gone.npy"]}', "no such file: "),
    ("warmup.kwargs", 'warmup = {kwargs = {x = "@gone.npy"}}', "no such file: "),
    ("warmup.method", 'warmup = {method = "_close"}', ""),
]


@pytest.mark.parametrize("loaded", ['factory = "zoo:Echo"', 'kind = "cnocr"'])
@pytest.mark.parametrize(("key", "line", "told"), UPKEEP_MISTAKES)
def test_keys_of_upkeep_are_checked_for_kinds_and_factories_alike(
    tmp_path: Path, loaded: str, key: str, line: str, told: str
) -> None:
    path = written(tmp_path, f"[models.m]\n{loaded}\n{line}\n")
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert str(raised.value).startswith(f"{path}: models.m.{key}: ") and told in str(raised.value)


def test_an_adapters_canary_calls_what_it_exposes(tmp_path: Path) -> None:
    path = written(tmp_path, '[models.m]\nkind = "cnocr"\ncanary = {method = "read"}\n')
    with pytest.raises(ConfigError, match=r"m.canary.method: unknown method 'read'.*allowed: ocr, ocr_for"):
        load(path)


def test_how_a_model_is_kept_is_no_option_of_its_adapter(tmp_path: Path) -> None:
    (tmp_path / "x.npy").touch()
    text = (
        '[models.m]\nkind = "cnocr"\nthreads = 2\nlazy = true\nttl = 300\ncanary_every = 0\n'
        'keep = true\ncanary = [{args = ["@x.npy"]}, {expect = 3}]\n[models.n]\nfactory = "zoo:Echo"\ncanary = false\n'
    )
    found = load(written(tmp_path, text))
    file = f"@{tmp_path}/x.npy"
    assert found.models["m"] == ModelSettings(
        kind="cnocr",
        options={"threads": 2},
        scheduling=Scheduling(lanes=2),
        upkeep=Upkeep(True, 300.0, [ProbeSettings(args=[file]), ProbeSettings(expect=3)], 0.0, keep=True),
    )
    assert found.models["n"].upkeep.canary == []
    assert Settings.from_json(found.to_json()) == found


VERSIONS = """
[models.m]
factory = "zoo:Echo"
ttl = 60
default = "2"
versions.1 = {kwargs = {plus = 1}}
versions.2 = {kwargs = {plus = 2}, lazy = true}
"""


def test_versions_have_what_they_share_and_what_is_their_own(tmp_path: Path) -> None:
    model = load(written(tmp_path, VERSIONS)).models["m"]
    assert model.default == "2" and list(model.versions) == ["1", "2"]
    assert [one.kwargs for one in model.versions.values()] == [{"plus": 1}, {"plus": 2}]
    assert [one.upkeep for one in model.versions.values()] == [Upkeep(ttl=60), Upkeep(lazy=True, ttl=60)]
    assert (model.factory, model.kwargs) == ("zoo:Echo", {"plus": 2})
    assert model.with_default("1").kwargs == {"plus": 1}


def test_versions_come_through_json_unchanged(tmp_path: Path) -> None:
    settings = load(written(tmp_path, VERSIONS))
    assert Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("key", "text", "told"),
    [
        ("default", 'factory = "a:b"\nversions.1 = {}\nversions.2 = {}', "say which version is the default: 1, 2"),
        ("default", 'factory = "a:b"\ndefault = "3"\nversions.1 = {}', "unknown version '3' (allowed: 1)"),
        ("default", 'factory = "a:b"\ndefault = 1\nversions.1 = {}', "unknown version 1; did you mean '1'?"),
        ("versions", 'factory = "a:b"\ndefault = "1"', "write one table [models.m.versions.NAME]"),
        ("versions", 'factory = "a:b"\nversions = ["1"]', "write one table [models.m.versions.NAME]"),
        ("versions.a b", 'factory = "a:b"\nversions."a b" = {}', "a version's name"),
        ("versions.1.arg", 'factory = "a:b"\nversions.1 = {arg = 1}', "did you mean 'args'"),
        ("versions.1.isolate", 'factory = "a:b"\nversions.1 = {isolate = true}', "for all versions together"),
        ("versions.1.versions", 'factory = "a:b"\nversions.1 = {versions = {}}', "unknown key"),
        ("versions.1", "versions.1 = {}", "either `kind`"),
        ("versions.1", 'factory = "a:b"\nversions.1 = {kind = "onnx"}', "either `kind`"),
    ],
)
def test_a_mistake_in_versions_is_told_by_its_key(tmp_path: Path, key: str, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(written(tmp_path, f"[models.m]\n{text}\n"))
    assert f": models.m.{key}: " in str(raised.value) and told in str(raised.value)


def test_a_mistake_in_what_versions_share_is_told_once_and_where_it_is(tmp_path: Path) -> None:
    text = '[models.m]\nfactory = "a:b"\ntll = 1\ndefault = "1.5"\nversions.1 = {}\nversions."1.5" = {lazi = 1}\n'
    with pytest.raises(ConfigError) as raised:
        load(written(tmp_path, text))
    keys = [line.split(": ")[1] for line in str(raised.value).splitlines()]
    assert sorted(keys) == ["models.m.tll", "models.m.versions.1.5.lazi"]


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
    upkeep = {"ttl": 60, "canary": {"kwargs": {"x": f"@{path}"}}}
    kept = checked_spec("net", {"kind": "onnx", "path": path, **upkeep}).upkeep
    assert kept == Upkeep(ttl=60, canary=[ProbeSettings(kwargs={"x": f"@{path}"})])
    with pytest.raises(BadArgument, match=r"canary.kwargs: give an absolute path, not '@x.npy'"):
        checked_spec("net", {"kind": "onnx", "path": path, "canary": {"kwargs": {"x": "@x.npy"}}})
    with pytest.raises(BadArgument, match="no name for a model"):
        checked_spec("#models", {"kind": "cnocr"})
