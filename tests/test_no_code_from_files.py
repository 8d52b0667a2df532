"""The source has no door by which a file could run code, and files that try find none."""

from __future__ import annotations

import ast
import os
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import multiseg
from multiseg.datasets.base import Listing
from multiseg.datasets.base.index import indexed
from multiseg.errors import MultisegError
from multiseg.run_folder import read_checkpoint
from multiseg.weights import read_weights

PACKAGE = Path(multiseg.__file__).parent

#: Calls that run, or may run, what they are given: the last parts of their names.
FORBIDDEN = {
    *("eval", "exec", "compile_command", "execfile", "__import__", "os.system", "popen", "run_path", "load_module"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open", "dill.load", "joblib.load"),
    *("torch.hub.load", "torch.jit.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "read_pickle"),
    *("subprocess.run", "subprocess.Popen", "subprocess.check_output", "pkgutil.resolve_name", "resolve_name"),
}


def doors(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and call of everything that could run code of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "trust_remote_code", "weights_only"):
            safe = node.arg == "weights_only"
            if not (isinstance(node.value, ast.Constant) and node.value.value is safe):
                yield node.value.lineno, f"{node.arg}={ast.unparse(node.value)}"
        if not isinstance(node, ast.Call):
            continue
        name, given = ast.unparse(node.func), {keyword.arg for keyword in node.keywords}
        if name in FORBIDDEN or any(name.endswith(f".{door}") for door in FORBIDDEN):
            # a module's `eval()` switches batch norms
            if not (name.endswith(".eval") and not node.args):
                yield node.lineno, name
        elif name == "torch.load" and "weights_only" not in given:
            yield node.lineno, "torch.load without weights_only"
        elif name in ("np.load", "numpy.load") and "allow_pickle" not in given:
            yield node.lineno, "np.load without allow_pickle"
        elif name == "yaml.load" and ast.unparse(node.args[-1]) not in ("_Loader", "yaml.SafeLoader"):
            yield node.lineno, "yaml.load of any loader"
        elif name.endswith("import_module") and not constant_start(node.args[0]):
            yield node.lineno, "import of a name that is computed"
        elif name.endswith("from_pretrained") and "trust_remote_code" in given:
            yield node.lineno, "trust_remote_code"


def constant_start(argument: ast.expr) -> bool:
    """Whether a name to import is written out, at least that of its package, or is that of a module that is there."""
    if isinstance(argument, ast.Constant):
        return True
    first = argument.values[0] if isinstance(argument, ast.JoinedStr) else None
    if isinstance(first, ast.Constant):
        return re.match(r"\w+\.", str(first.value)) is not None
    return isinstance(first, ast.FormattedValue) and ast.unparse(first.value) == "__name__"


#: OpenAI's weights of CLIP have no other form than programs; their checksums are compared first (tested with CLIP).
#: How long Python takes to start is measured with this very Python.
KNOWN = {("networks/text_encoder/clip.py", "torch.jit.load"), ("bench/startup.py", "subprocess.run")}


def test_no_door() -> None:
    found = [
        (path.relative_to(PACKAGE).as_posix(), line, door)
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, door in doors(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert {(path, door) for path, _, door in found} == KNOWN, found


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "torch.load(f, weights_only=flag)",
        "pickle.loads(b)",
        "np.load(f)",
        "np.load(f, allow_pickle=True)",
        "yaml.load(f, yaml.Loader)",
        "yaml.unsafe_load(f)",
        "eval(text)",
        "os.system(text)",
        "importlib.import_module(name)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
        "resolve_name(path)",
    ],
)
def test_a_door_is_found(source: str) -> None:
    assert list(doors(ast.parse(source)))


def test_what_is_safe_is_no_door() -> None:
    safe = "torch.load(f, weights_only=True); model.eval(); np.load(f, allow_pickle=False); yaml.load(t, _Loader)"
    assert not list(doors(ast.parse(safe)))


# Files that try


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["a.ckpt", "a.pth", "a.pt", "a.bin", "a.safetensors"])
@pytest.mark.parametrize("packed", [True, False], ids=["as torch saves", "plain"])
def test_a_pickled_bomb_does_not_go_off(name: str, packed: bool, tmp_path: Path) -> None:
    file, mark = tmp_path / name, tmp_path / "executed"
    content = {"state_dict": {"a": torch.zeros(1)}, "loops": Bomb(mark)}
    if packed:
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content))
    for read in (read_weights, read_checkpoint):
        with pytest.raises(MultisegError, match=name) as caught:
            read(file)
        assert "\n" not in str(caught.value)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()  # it would have


def test_a_pickled_bomb_in_the_index_cache_does_not_go_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTISEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("multiseg.datasets.base.index.WORTHWHILE", 0)
    (tmp_path / "data").mkdir()
    made: list[int] = []

    def build() -> dict[str, np.ndarray]:
        made.append(1)
        return {"a": np.arange(3)}

    indexed(("key",), Listing(tmp_path / "data"), build)
    (file,) = (tmp_path / "cache/index").glob("*.npz")
    with np.load(file) as stored:
        kept = dict(stored)
    np.savez(file, **{**kept, "a": np.array([Bomb(tmp_path / "executed")], object)})
    assert indexed(("key",), Listing(tmp_path / "data"), build)["a"].tolist() == [0, 1, 2]
    assert len(made) == 2 and not (tmp_path / "executed").exists()
