"""Nothing that a file names is imported or called, unless it is harmless or trusted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser
from torchvision.transforms import v2

from multiseg.cli import main, named_packages
from multiseg.configuration import Config, compose, merge, shipped_recipes
from multiseg.errors import MultisegError
from multiseg.instantiation import build_method, explain, resolve
from multiseg.label_space import LabelClass, LabelSpace
from multiseg.run_folder import InputSize, RunFolder, load_model, save_model
from multiseg.trust import trusted

SPACES = [
    LabelSpace("town", tuple(LabelClass(name, (i,), (i, 0, 9)) for i, name in enumerate(["road", "car", "sky"]))),
    LabelSpace("park", tuple(LabelClass(name, (i,), (i, 9, 0)) for i, name in enumerate(["tree", "sky"]))),
]

#: What an evil file may try, by where it stands in a configuration. None of these classes is one to be built here, but
#: to find that out one would have to import it.
NESTED = {
    "as the method": {"method": {"class_path": "evil.Evil"}},
    "as the method, written short": {"method": "evil.Evil"},
    "a function": {"method": {"class_path": "evil.run"}},
    "a module": {"method": {"class_path": "evil"}},
    "as the network": {"method": {"init_args": {"network": {"class_path": "evil.Evil"}}}},
    "as the decoder, which is a factory": {
        "method": {"init_args": {"network": {"init_args": {"decoder": "evil.run"}}}}
    },
    "as the optimiser": {"method": {"init_args": {"optimizer": {"class_path": "evil.Evil", "init_args": {"lr": 1}}}}},
    "as YAML within text": {"method": {"init_args": {"optimizer": "{class_path: evil.Evil}"}}},
    "as a schedule, written short": {"method": {"init_args": {"schedule": "evil.Evil"}}},
    "as a transform": {"data": {"pipeline": {"more": [{"class_path": "evil.Evil"}]}}},
    "as a transform in a transform": {
        "data": {
            "pipeline": {
                "more": [
                    {
                        "class_path": "torchvision.transforms.v2.RandomApply",
                        "init_args": {"transforms": ["evil.run"], "p": 1.0},
                    }
                ]
            }
        }
    },
    "as a getter of labels": {
        "data": {
            "pipeline": {
                "more": [
                    {
                        "class_path": "torchvision.transforms.v2.SanitizeBoundingBoxes",
                        "init_args": {"labels_getter": "evil.run"},
                    }
                ]
            }
        }
    },
    "as a dataset's own transform": {
        "data": {"datasets": {"town": {"pipeline": {"more": [{"class_path": "evil.Evil"}]}}}}
    },
    "as the plan": {"data": {"plan": {"class_path": "evil.Evil"}}},
    "in a message": {"trainer": {"log_every": "given class_path 'evil.Evil' Option 'x' is not accepted"}},
    "in a message of a module": {"trainer": {"log_every": "module 'evil' has no attribute 'x'"}},
    "as an argument's own type": {"init": {"weights": {"class_path": "evil.Evil"}}},
}


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that can be imported, and the file that is there once it was."""
    mark = tmp_path / "executed"
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "evil.py").write_text(
        "from pathlib import Path\nfrom multiseg.losses.prototype_bank import ClassBank\n"
        f"Path({str(mark)!r}).write_text('imported')\n"
        "class Evil:\n    def __init__(self, **anything):\n        pass\n"
        "def run(*anything):\n    pass\n"
        "class Bank(ClassBank):\n    pass\n"
    )
    monkeypatch.syspath_prepend(folder)
    yield mark
    sys.modules.pop("evil", None)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") <= 2 and "Traceback" not in error
    return error


@pytest.mark.parametrize("attack", NESTED.values(), ids=NESTED)
def test_an_evil_recipe_leaves_no_trace(
    attack: Config,
    evil: Path,
    data_roots: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(attack))
    data = [part for name in ("town", "park") for part in ("--data", f"{name}={data_roots[name]}")]
    code = main(["train", "multi_head", str(recipe), *data, "--steps", "1", "--run", str(tmp_path / "run")])
    message = one_line(capsys)
    assert code == 2 and not evil.exists() and "evil" not in sys.modules, message
    assert not (tmp_path / "run").exists()


def test_the_evil_module_would_leave_a_trace(evil: Path, data_roots: dict[str, Path]) -> None:
    """The tests above can fail: trusted, the module is imported; and what is trusted is no longer after the block."""
    config = merge(
        compose(["multi_head"], [f"town={data_roots['town']}"]), {"data": {"plan": {"class_path": "evil.Evil"}}}
    )
    with trusted("evil"), pytest.raises(MultisegError, match="plan"):
        resolve(config)
    assert evil.exists()
    with pytest.raises(
        MultisegError, match=r"data\.plan: 'evil\.Evil' is code from outside multiseg.* add --trust evil"
    ):
        resolve(config)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("os.system", "'os.system' is code from outside multiseg"),
        ("subprocess.Popen", "subprocess"),
        ("torch.hub.load", "torch.hub.load"),
        ("torch.load", "torch.load"),
        ("builtins.eval", "builtins.eval"),
        ("torchvision.transforms.v2.Lambda", "add --trust torchvision"),
        ("torchvision.transforms.v2.ColorJiter", "did you mean 'ColorJitter'?"),
        ("multiseg.cli.main", "no class that a configuration may name"),
        ("multiseg.training.os.system", "no class that a configuration may name"),
        ("multiseg.loading.datamodule.open_dataset", "is a function"),
        ("multiseg.loading.transforms.F.resize", "code from outside multiseg"),
    ],
)
def test_a_function_in_the_place_of_a_transform(path: str, told: str, data_roots: dict[str, Path]) -> None:
    """Even where any callable fits, and whatever is imported anyway."""
    transforms = {"class_path": "torchvision.transforms.v2.RandomApply", "init_args": {"transforms": [path], "p": 1}}
    config = compose(["multi_head"], [f"town={data_roots['town']}"])
    with pytest.raises(MultisegError) as caught:
        resolve(merge(config, {"data": {"pipeline": {"more": [transforms]}}}))
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_every_shipped_recipe_needs_no_trust(data_roots: dict[str, Path]) -> None:
    """All their classes are ours or torchvision's; that they resolve is tested with the recipes."""
    named = {path for recipe in shipped_recipes().values() for path in class_paths(yaml.safe_load(recipe.read_text()))}
    assert len(named) > 20 and {path.split(".")[0] for path in named} == {"multiseg", "torchvision"}


def class_paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in value.items():
            if key == "class_path":
                yield entry
            yield from class_paths(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from class_paths(entry)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a model, as `train` leaves it, without having trained."""
    run = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    run.create()
    method = compose(["mdp"], overrides=[("method.network.backbone.name", "test_resnet")])["method"]
    method["init_args"]["network"]["init_args"]["backbone"]["init_args"]["output_stride"] = 32
    method["init_args"]["network"]["init_args"]["backbone"]["init_args"]["weights"] = None
    save_model(run, build_method(method, SPACES), method, {"town": InputSize(64, (32, 48))}, "32-true")
    run.write_config({"data": {"datasets": {}}, "method": method, "init": {}, "trainer": {}})
    run.write_metrics({"method": "mdp", "step": 1, "datasets": {}, "mean": {}})
    return run.path


def poisoned(model_folder: Path, tmp_path: Path, bank: str) -> Path:
    """A copy whose model.json names another class of bank."""
    folder = tmp_path / "poisoned"
    (folder / "model").mkdir(parents=True)
    for name in ("config.yaml", "metrics.json", "model/model.safetensors"):
        (folder / name).write_bytes((model_folder / name).read_bytes())
    description = json.loads((model_folder / "model/model.json").read_text())
    description["method"]["init_args"]["bank"] = {"class_path": bank, "init_args": {}}
    (folder / "model/model.json").write_text(json.dumps(description))
    return folder


@pytest.mark.parametrize(
    "command", ["evaluate RUN town=ROOT", "predict RUN IMAGE --taxonomy town", "taxonomy --prototypes RUN"]
)
def test_an_evil_model_leaves_no_trace(
    command: str,
    evil: Path,
    model_folder: Path,
    data_roots: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, town = poisoned(model_folder, tmp_path, "evil.Bank"), data_roots["town"]
    words = {"RUN": str(run), "IMAGE": str(town / "images/val/0.png"), "town=ROOT": f"town={town}"}
    arguments = [words.get(word, word) for word in command.split()]
    assert main(arguments) == 2
    assert "method.bank: 'evil.Bank' is code from outside" in one_line(capsys) and not evil.exists()


def test_a_report_of_an_evil_run_leaves_no_trace(evil: Path, model_folder: Path, tmp_path: Path) -> None:
    run = poisoned(model_folder, tmp_path, "evil.Bank")
    assert main(["report", str(run), "--out", str(tmp_path / "report.html")]) in (0, 2) and not evil.exists()


def test_a_model_of_a_trusted_package_loads(evil: Path, model_folder: Path, tmp_path: Path) -> None:
    run = RunFolder(poisoned(model_folder, tmp_path, "evil.Bank"))
    with trusted("evil"):
        assert load_model(run).method.spaces.keys() == {"town", "park"}
    assert evil.exists()
    with pytest.raises(MultisegError, match="add --trust evil"):  # though it is imported by now
        load_model(run)


def test_showing_a_recipe_only_prints_it(evil: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text("method: {class_path: evil.Evil}\n")
    assert main(["recipes", "show", str(tmp_path / "recipe.yaml")]) == 0
    assert "evil.Evil" in capsys.readouterr().out and not evil.exists()


def test_a_tag_of_python_in_yaml_is_no_yaml_here(
    evil: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("method: !!python/object/apply:evil.run []\n")
    assert main(["train", str(recipe), "--data", f"town={tmp_path}"]) == 2
    assert str(recipe) in one_line(capsys) and not evil.exists()


def test_what_stands_on_the_command_line_is_the_users_own() -> None:
    overrides = [
        ("method.class_path", "mine.Method"),
        ("method.optimizer", "{class_path: theirs.optim.SGD, init_args: {lr: 1}}"),
        ("data.plan.class_path", "multiseg.loading.sampling.Mixed"),
        ("method.network.backbone.name", "resnet50.a1_in1k"),
    ]
    assert named_packages(overrides) == ["mine", "theirs"]


@pytest.mark.parametrize("package", ["", "a-b", "../x", "jsonargparse", "jsonargparse._common", "*"])
def test_what_cannot_be_trusted(package: str) -> None:
    with pytest.raises(MultisegError, match="--trust"), trusted(package):
        pass


def test_other_users_of_jsonargparse_are_left_alone(data_roots: dict[str, Path]) -> None:
    resolve(compose(["multi_head"], [f"town={data_roots['town']}"]))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--transform", type=v2.Transform)
    parsed = parser.parse_object(
        {"transform": {"class_path": "torchvision.transforms.v2.Lambda", "init_args": {"lambd": "math.sqrt"}}}
    )
    assert parsed.transform.class_path == "torchvision.transforms.v2.Lambda"


def test_a_message_is_explained_without_an_import(evil: Path) -> None:
    explain("Parser key \"method\": given class_path 'evil.Evil' Option 'x' is not accepted")
    assert not evil.exists()
