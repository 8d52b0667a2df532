"""Which runs were tuned, and from what, as folders tell that are written by hand."""

import pytest

from multiseg.evaluation.tuning_charts import Tuning
from multiseg.run_folder import RunFolder
from multiseg.tuning_lineage import find_tunings, is_tuning, read_tuning, start_of


@pytest.fixture
def make_run(tmp_path):
    def make(name, method="multiseg.methods.supervised.Supervised", weights=None, images=10, **arguments):
        run = RunFolder(tmp_path / "runs" / name)
        run.path.mkdir(parents=True)
        config = {
            "data": {"datasets": {"town": {}}, "total_batch_size": images, "patches": {"per_image": 10}},
            "method": {"class_path": method, "init_args": arguments},
            "init": {"weights": weights},
        }
        run.write_config(config)
        return run

    return make


MM, JIGSAW = "multiseg.methods.mix_and_match.MixAndMatch", "multiseg.methods.jigsaw.Jigsaw"


def test_runs_and_their_tunings(make_run, tmp_path):
    mm = make_run("mm", MM)
    fine = make_run("fine", weights=str(mm.path))
    of_file = make_run("of_file", weights=str(mm.weights_path))
    relative = make_run("relative", weights="runs/mm")  # from two folders above the run
    others = [make_run("plain"), make_run("gone", weights="runs/none"), make_run("again", weights=str(fine.path))]
    runs = {run.path.name: run for run in [mm, fine, of_file, relative, *others]}
    found = find_tunings(runs)
    assert {name: run.path.resolve() for name, run in found.items()} == dict.fromkeys(
        ["mm", "fine", "of_file", "relative"], mm.path
    )
    assert start_of(runs["again"], runs["again"].read_config()).path == fine.path


@pytest.mark.parametrize(
    "config", [{}, {"method": None}, {"method": {"class_path": None}}, {"init": "x", "method": "y"}]
)
def test_strange_configurations_are_no_tunings(config, tmp_path):
    assert not is_tuning(config) and start_of(RunFolder(tmp_path), config) is None


def test_what_charts_show_of_a_tuning(make_run):
    jigsaw = make_run("jigsaw", JIGSAW)
    mm = make_run("mm", MM, weights=str(jigsaw.path), images=20)
    assert read_tuning(mm, {}) == Tuning("mm", str(mm.path.resolve()), "from Jigsaw", 200, None)
    mm.write_metrics({"step": 40, "seconds": 10.0})
    on_page = {mm.path.resolve(): "a/mm"}
    assert read_tuning(mm, on_page) == Tuning("a/mm", str(mm.path.resolve()), "from Jigsaw", 200, 0.25)
    assert read_tuning(make_run("random", MM, match="random"), {}).kind == "from random weights, random triplets"
    assert read_tuning(make_run("file", MM, weights="w/moco.pth"), {}).kind == "from moco.pth"
    backbone = {"init_args": {"backbone": {"init_args": {"weights": "timm"}}}}
    assert read_tuning(make_run("timm", MM, network=backbone), {}).kind == "from timm"
    mm.write_metrics({"step": 0, "seconds": 1.0})
    assert read_tuning(mm, {}).seconds is None
