"""Run folders are written by hand, predictors are stubs: what ends up on the page, and what is forgiven."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import tiny_run
from multiseg import reporting
from multiseg.cli import main
from multiseg.errors import MultisegError
from multiseg.reporting import read_curves, read_scores, short_names, spread, write_report
from multiseg.run_folder import RunFolder
from multiseg.trust import trusted


@pytest.fixture
def make_run(tmp_path, data_roots):
    """Writes a finished run without a model."""

    def make(name, *datasets, root=None):
        run = RunFolder(tmp_path / name)
        run.path.mkdir(parents=True)
        entries = {dataset: {"root": str(root or data_roots[dataset])} for dataset in datasets}
        run.write_config({"data": {"datasets": entries}})
        scores = {"mIoU": 50.0, "mean_accuracy": 60.0, "pixel_accuracy": 70.0, "per_class": {"sky": 50.0}, "absent": []}
        run.write_metrics({"method": "M", "step": 7, "datasets": dict.fromkeys(datasets, scores), "seconds": 3.0})
        run.log_path.write_text(f"step,loss/{datasets[0]}\n1,2.5\n2,1.5\n")
        return run

    return make


class StubPredictor:
    """Predicts class 0 of the datasets that the run was trained on."""

    made = 0
    method = None  # it classifies no masks

    def __init__(self, spaces):
        self.taxonomies = spaces
        StubPredictor.made += 1

    @classmethod
    def from_run(cls, run):
        names = run.read_config()["data"]["datasets"]
        return cls(
            {
                name: reporting.open_dataset(name, reporting.DatasetEntry(**entry), "val").label_space
                for name, entry in names.items()
            }
        )

    def predict(self, image, taxonomy):
        assert taxonomy in self.taxonomies
        return torch.zeros(image.shape[-2:], dtype=torch.int64)


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(reporting, "Predictor", StubPredictor)


def captions(page):
    return re.findall(r' alt="(.*?)"', page)


def test_every_run_predicts_the_same_images_of_the_datasets_it_knows(make_run, tmp_path, stub):
    runs = [make_run("t", "town"), make_run("both", "town", "park")]
    write_report(runs, tmp_path / "new/folder/r.html", panels=2)
    page = (tmp_path / "new/folder/r.html").read_text()
    town = [
        f"images/val/{key}: {what}"
        for key in "02"
        for what in ("image", "truth", "prediction of t", "prediction of both")
    ]
    park = [f"images/val/{key}: {what}" for key in "02" for what in ("image", "truth", "prediction of both")]
    assert captions(page) == town + park
    assert "No p" not in page
    assert not list(tmp_path.rglob("*.partial"))


def test_a_taxonomy_of_the_same_name_with_other_classes_is_not_predicted(make_run, tmp_path, monkeypatch, stub):
    made = StubPredictor.from_run(make_run("p", "park"))
    monkeypatch.setattr(StubPredictor, "from_run", lambda run: StubPredictor({"town": made.taxonomies["park"]}))
    write_report([make_run("t", "town")], tmp_path / "r.html", panels=1)
    assert captions((tmp_path / "r.html").read_text()) == ["images/val/1: image", "images/val/1: truth"]


def test_scores_curves_and_config_are_on_the_page(make_run, tmp_path, stub):
    run = make_run("t", "town")
    write_report([run], tmp_path / "r.html", title="mine")
    page = (tmp_path / "r.html").read_text()
    for part in ("<title>mine</title>", ">50.0<", "step 2\nt: 1.5", "multiseg train", str(run.config_path), "root:"):
        assert part in page


def test_missing_pieces_are_said_and_the_rest_is_shown(make_run, tmp_path):
    gone = make_run("gone", "park", root=tmp_path / "nowhere")
    gone.metrics_path.unlink()
    gone.log_path.unlink()
    run = make_run("t", "town")
    write_report([gone, run], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert f"gone: {gone.metrics_path} cannot be read; is the run finished?" in page
    assert "Without a log: gone." in page
    assert re.search(r"<p>No pictures of park: .*nowhere", page)
    assert f"No predictions of t: {run.path} has no model/" in page
    assert captions(page) == [f"images/val/{key}: {what}" for key in "012" for what in ("image", "truth")]


def test_a_damaged_image_costs_only_its_dataset_s_pictures(make_run, tmp_path, data_roots, stub):
    broken = shutil.copytree(data_roots["park"], tmp_path / "broken")
    (broken / "images/val/1.png").write_bytes(b"no image")
    write_report([make_run("p", "park", root=broken), make_run("t", "town")], tmp_path / "r.html", panels=1)
    page = (tmp_path / "r.html").read_text()
    assert f"No pictures of park: {broken / 'images/val/1.png'} cannot be decoded" in page
    assert captions(page)[0] == "images/val/1: image"


def test_without_panels_no_model_is_loaded(make_run, tmp_path, stub):
    before = StubPredictor.made
    write_report([make_run("t", "town")], tmp_path / "r.html", panels=0)
    assert StubPredictor.made == before
    assert "Pictures" not in (tmp_path / "r.html").read_text()


def test_a_run_given_twice_counts_once(make_run, tmp_path, stub):
    run = make_run("t", "town")
    write_report([run, RunFolder(run.path.parent / "." / "t")], tmp_path / "r.html", panels=0)
    assert "1 run, 1 dataset" in (tmp_path / "r.html").read_text()


def test_what_is_no_run_is_refused_before_anything_is_written(make_run, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(MultisegError, match=r"other is no run folder: it has no config\.yaml"):
        write_report([make_run("t", "town"), RunFolder(other)], tmp_path / "r.html")
    (other / "config.yaml").write_text("trainer: {steps: 3}\n")
    with pytest.raises(MultisegError, match=r"other.config\.yaml names no data\.datasets"):
        write_report([RunFolder(other)], tmp_path / "r.html")
    with pytest.raises(MultisegError, match="no run to report on"):
        write_report([], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_a_model_without_batch_norms_or_a_broken_one_leaves_a_page(make_run, tmp_path, stub):
    with_norms, without, broken, none = (make_run(name, "town") for name in ("norms", "vit", "broken", "none"))
    for run, module in ((with_norms, nn.BatchNorm2d(4)), (without, nn.LayerNorm(4))):
        run.weights_path.parent.mkdir()
        save_file(nn.Sequential(module).state_dict(), run.weights_path)
    broken.weights_path.parent.mkdir()
    broken.weights_path.write_bytes(b"no model")
    write_report([with_norms, without, broken, none], tmp_path / "r.html", panels=0)
    page = (tmp_path / "r.html").read_text()
    assert "Without batch norms: vit." in page
    assert f"No batch norms of broken: {broken.weights_path} cannot be read" in page
    assert "No batch norms of none: it has no model." in page
    assert "0: running variance" in page
    write_report([without, none], tmp_path / "r.html", panels=0)
    assert not re.search("[Bb]atch norm|Filters", (tmp_path / "r.html").read_text())


def test_a_cdcl_run_beside_single_and_multi_head_ones(tmp_path, data_roots):
    both = [*tiny_run.arguments(data_roots), "--steps", "2", "--trainer.val_every", "2", "--quiet"]
    town = [*both[:2], *both[4:]]
    assert both[2].startswith("--data") and both[3].startswith("park=")
    runs = [RunFolder(tmp_path / name) for name in ("town0", "town1", "heads", "shared")]
    for run, method, arguments in zip(
        runs, ("supervised", "supervised", "multi_head", "cdcl"), (town, town, both, both), strict=True
    ):
        assert main(["train", method, *arguments, "--run", str(run.path)]) == 0
    write_report(runs, tmp_path / "r.html", panels=1)
    page = (tmp_path / "r.html").read_text()
    assert captions(page) == [
        f"images/val/1: {what}"
        for what in (
            *("image", "truth", "prediction of town0", "prediction of town1"),
            *("prediction of heads", "prediction of shared", "image", "truth"),
            *("prediction of heads", "prediction of shared"),
        )
    ]
    assert "No p" not in page and "cannot" not in page
    best = max(runs[:2], key=lambda run: run.read_metrics()["datasets"]["town"]["mIoU"]).path.name
    assert f"sorted by what shared gains over {best}." in page
    assert "Against the best of the models trained on the dataset alone: heads " in page
    chart = page[page.index("backbone.<wbr>features.<wbr>bn1: running mean") :].split("</figure>")[0]
    kinds = re.findall(r'<polyline class="line (.*?)"', chart)  # town twice, both together, and one set a dataset
    assert kinds == ["run0", "run0 dashed", "run2", "run0 dotted", "run1"]
    first_tip = re.search(r"<title>(channel 1\n.*?)</title>", chart, re.S)[1].split("\n")
    assert [line.rsplit(": ", 1)[0] for line in first_tip[1:]] == [
        *("town0: town", "town1: town", "heads: town + park", "shared: town", "shared: park"),
    ]
    assert "<p>shared: town and park.</p>" in page
    assert "backbone.<wbr>features.<wbr>conv1.<wbr>6: norm of filters" in page


def test_a_run_of_lmseg_has_queries_and_words_and_runs_on_one_dataset_each_stand_beside_it(
    make_run, tmp_path, data_roots
):
    arguments = tiny_run.arguments(data_roots)
    arguments = [*arguments[: arguments.index("--method.network.decoder.channels")], "--steps", "2", "--quiet"]
    arguments += ["--method.network.decoder.channels", "16", "--method.network.decoder.groups", "4"]
    decoder = "{queries: 6, layers: 2, width: 16, heads: 2, feedforward: 32}"
    arguments += ["--method.mask_decoder", decoder, "--method.text", "{class_path: tiny_methods.TinyText}"]
    words = RunFolder(tmp_path / "words")
    assert main(["train", "lmseg", *arguments, "--run", str(words.path)]) == 0
    with trusted("tiny_methods"):
        write_report([make_run("t", "town"), make_run("p", "park"), words], tmp_path / "r.html", panels=3)
    page = (tmp_path / "r.html").read_text()
    assert "<p>M, one model each: t, p; cost is their sum.</p>" in page
    assert "<td>8</td>" in page  # 2 updates of 2 images of 2 datasets
    queries = page.split("<h2>Queries</h2>")[1].split("</section>")[0]
    kinds = ("image with queries", "truth", "prediction")
    assert [text for text in captions(queries) if text.endswith(kinds)] == [
        f"{name} images/val/{key}: {kind}" for name in ("town", "park") for key in "01" for kind in kinds
    ]
    assert queries.count("by the words of park</figcaption>") == queries.count("by the words of town</figcaption>") == 2
    section = page.split("<h2>Words</h2>")[1].split("</section>")[0]
    assert section.count('<svg class="scatter"') == 2 and section.count("<table") == 2
    words.model_path.write_text("{}")
    write_report([words], tmp_path / "r.html", panels=1)
    page = (tmp_path / "r.html").read_text()
    assert "<p>No words of words: " in page and "<h2>Queries</h2>" not in page


def test_a_tuning_and_what_was_fine_tuned_from_it(make_run, tmp_path, data_roots):
    both = [*tiny_run.arguments(data_roots), "--steps", "2", "--quiet"]
    town = [*both[:2], *both[4:]]
    tuning, fine, puzzles = (RunFolder(tmp_path / name) for name in ("mm", "fine", "jigsaw"))
    patches = ["--data.patches.sides", "[8, 16]", "--data.patches.size", "[32, 32]", "--data.total_batch_size", "2"]
    assert main(["train", "mix_and_match", *town, *patches, "--run", str(tuning.path)]) == 0
    assert main(["train", "supervised", *town, "--init.weights", str(tuning.path), "--run", str(fine.path)]) == 0
    make_run("jigsaw", "town").write_metrics({"step": 3, "proxy": {"town": {"accuracy": 0.5, "chance": 0.25}}})
    write_report([puzzles, tuning, make_run("p", "park"), fine], tmp_path / "r.html", panels=0)
    page = (tmp_path / "r.html").read_text()
    assert "<td>50.0</td><td>25.00</td><td>2.0</td>" in page.split("<h2>Proxy tasks</h2>")[1].split("</section>")[0]
    section = page.split("<h2>Mix-and-match tuning</h2>")[1].split("</section>")[0]
    # the puzzle solver has no model, and park's run nothing to do with town
    assert f"<p>No features of jigsaw: {puzzles.path} has no model/" in section and "park" not in section
    assert re.findall('aria-label="town: patches in (.*?)"', section) == ["mm", "fine"]
    assert "of 3 images of the split val, cut as in mm: squares of 8 to 16 pixels, resized to 32×32." in section
    assert "Size of the graph" not in section
    larger = RunFolder(tmp_path / "larger")
    config = tuning.read_config()
    assert config["data"]["total_batch_size"] == 2
    config["data"]["total_batch_size"] = 4
    larger.path.mkdir()
    larger.write_config(config)
    larger.write_metrics(tuning.read_metrics())
    write_report([tuning, larger], tmp_path / "r.html", panels=0)
    told = re.findall("<title>(nodes: .*?)</title>", (tmp_path / "r.html").read_text(), re.S)
    assert [tip.split(": ")[1].split("\n") for tip in told] == [["20", "mm"], ["40", "larger"]]
    tuning.path.rename(tmp_path / "elsewhere")
    write_report([fine], tmp_path / "r.html", panels=0)
    assert not re.search("[Mm]ix-and-match|Proxy", (tmp_path / "r.html").read_text())


def test_a_model_whose_queries_cannot_be_shown_keeps_its_predictions(make_run, tmp_path, stub, monkeypatch):
    def refuse(predictor, name, samples):
        raise MultisegError("several views.")

    monkeypatch.setattr(reporting, "view_queries", refuse)
    write_report([make_run("t", "town")], tmp_path / "r.html", panels=1)
    page = (tmp_path / "r.html").read_text()
    assert "<p>No queries of t: several views.</p>" in page
    assert captions(page)[-1] == "images/val/1: prediction of t"


def test_the_command_prints_where_the_page_is(make_run, tmp_path, stub, capsys):
    run = make_run("t", "town")
    assert main(["report", str(run.path)]) == 0
    assert capsys.readouterr().out == f"{run.path / 'report.html'}\n"
    assert (run.path / "report.html").is_file()
    assert main(["report", str(tmp_path / "nothing")]) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1


def test_names_are_as_short_as_tells_runs_apart(tmp_path):
    assert short_names([tmp_path / "a/x", tmp_path / "b/y"]) == ["x", "y"]
    assert short_names([tmp_path / "a/x", tmp_path / "b/x", tmp_path / "b/y"]) == ["a/x", "b/x", "b/y"]
    assert short_names([tmp_path / "x", tmp_path / "b/x"]) == [f"{tmp_path.name}/x", "b/x"]


def test_curves_leave_out_blanks_what_is_not_finite_and_a_cut_row(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("step,loss,val/mIoU,empty\n1,3.0,,\n2,nan,,\n3,inf,40.5,\n4,1e-,,\n5,2")
    assert read_curves(log) == {"loss": [(1.0, 3.0)], "val/mIoU": [(3.0, 40.5)]}
    assert read_curves(tmp_path / "none.csv") == {}


def test_scores_that_are_null_or_missing_are_nan():
    read = read_scores(json.loads('{"mIoU": null, "pixel_accuracy": 3, "absent": ["sky"]}'))
    assert math.isnan(read.miou) and math.isnan(read.mean_accuracy)
    assert (read.pixel_accuracy, read.per_class, read.absent, read.panoptic) == (3.0, {}, ("sky",), None)
    judged = read_scores({"mIoU": 1.0, "PQ": 20.0, "PQ_stuff": None, "PQ_per_class": {"sky": {"PQ": 5.0}}}).panoptic
    assert judged.all.pq == 20 and math.isnan(judged.stuff.pq) and judged.per_class["sky"].pq == 5


@pytest.mark.parametrize("length", [1, 3, 4, 5, 101, 1000])
@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_images_are_spread_evenly(length, count):
    chosen = spread(length, count)
    assert len(chosen) == len(set(chosen)) == min(length, count)
    assert chosen == sorted(chosen) and chosen[0] >= 0 and chosen[-1] < length
    if len(chosen) > 1:
        gaps = np.diff(chosen)
        assert gaps.max() - gaps.min() <= 1
        assert abs(chosen[0] - (length - 1 - chosen[-1])) <= 1
