import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from multiseg.errors import MultisegError
from multiseg.weights import Mismatch, load_weights, read_weights


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, classes, 1)


STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}


def _same(left, right):
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name])
        assert value.dtype == right[name].dtype


def test_reads_a_run_folder_and_safetensors(tmp_path):
    (tmp_path / "model").mkdir()
    save_file(STATE, tmp_path / "model" / "model.safetensors")
    _same(read_weights(tmp_path), STATE)
    _same(read_weights(str(tmp_path / "model" / "model.safetensors")), STATE)


@pytest.mark.parametrize("container", [None, "state_dict", "model", "teacher", "state_dict_ema"])
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_reads_checkpoints(tmp_path, container, wrapper):
    state = {wrapper + name: value for name, value in STATE.items()}
    torch.save({container: state, "epoch": 3} if container else state, tmp_path / "a.pth")
    _same(read_weights(tmp_path / "a.pth"), STATE)


def test_averaged_weights_come_first(tmp_path):
    plain = {name: value + 1 for name, value in STATE.items()}
    torch.save({"state_dict": plain, "state_dict_ema": STATE}, tmp_path / "a.pth")
    _same(read_weights(tmp_path / "a.pth"), STATE)


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_executes_nothing(tmp_path, capsys):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"a": Evil()}, protocol=2))
    with pytest.raises(MultisegError, match=r"evil\.pth cannot be read"):
        read_weights(tmp_path / "evil.pth")
    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(MultisegError, match=r"evil\.pt cannot be read"):
        read_weights(tmp_path / "evil.pt")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.bin"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut short"])
def test_broken_files_are_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MultisegError, match=name) as caught:
        read_weights(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_files_and_files_without_tensors(tmp_path):
    with pytest.raises(MultisegError, match=r"gone\.pth.*no such file"):
        read_weights(tmp_path / "gone.pth")
    with pytest.raises(MultisegError, match=r"model\.safetensors.*no such file"):
        read_weights(tmp_path)
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(MultisegError, match="no tensors by name; found epoch"):
        read_weights(tmp_path / "empty.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(MultisegError, match="holds a list"):
        read_weights(tmp_path / "list.pth")


def test_everything_is_loaded_or_listed():
    source, module = Net(classes=5), Net(classes=3)
    state = source.state_dict() | {"neck.weight": torch.zeros(2)}
    del state["body.1.bias"], state["body.1.num_batches_tracked"]
    head = module.head.weight.clone()
    report = load_weights(module, state, source="a.pth")
    loaded = ("body.0.weight", "body.0.bias", "body.1.weight", "body.1.running_mean", "body.1.running_var")
    assert report.loaded == loaded
    assert report.missing == ("body.1.bias",)
    assert report.unexpected == ("neck.weight",)
    assert report.mismatched == (
        Mismatch("head.weight", (5, 4, 1, 1), (3, 4, 1, 1)),
        Mismatch("head.bias", (5,), (3,)),
    )
    assert len(report.loaded) + len(report.unexpected) + len(report.mismatched) == len(state)
    assert (report.loaded_parameters, report.module_parameters) == (8 + 4 + 4 + 4 + 4, 8 + 4 + 16 + 1 + 15)
    assert torch.equal(module.body[0].weight, source.body[0].weight)
    assert torch.equal(module.head.weight, head)
    assert not report.complete
    assert report.summary().splitlines() == [
        "a.pth: 5 of 8 tensors loaded, 24 of 44 parameters.",
        "  1 not in the file, left as they were: body.1.bias",
        "  2 of another shape, left as they were: head.weight [5, 4, 1, 1] instead of [3, 4, 1, 1], "
        "head.bias [5] instead of [3]",
        "  1 of the file not used: neck.weight",
    ]


def test_the_prefix_is_found_or_given():
    source, other, module = Net(), Net(), Net()
    state = {f"network.student.{name}": value for name, value in source.state_dict().items()}
    state |= {f"network.teacher_copy.{name}": value for name, value in other.state_dict().items()}
    report = load_weights(module, state)  # of equals the shortest
    assert torch.equal(module.head.weight, source.head.weight)
    assert report.complete
    assert set(report.unexpected) == {name for name in state if "teacher" in name}
    load_weights(module, state, prefix="network.teacher_copy.")
    assert torch.equal(module.head.weight, other.head.weight)


def test_dtypes_follow_the_module():
    source, module = Net().half(), Net()
    load_weights(module, source.state_dict())
    assert module.head.weight.dtype == torch.float32
    assert torch.equal(module.head.weight, source.head.weight.float())


def test_nothing_that_fits_is_an_error():
    with pytest.raises(MultisegError, match=r"b\.pth: none of its 2 tensors fits Net; .*a\.weight.*body\.0\.weight"):
        load_weights(Net(), STATE, source="b.pth")
