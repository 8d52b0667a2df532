"""The page is parsed as HTML and asked what it shows."""

import base64
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from multiseg.evaluation.iou import Scores
from multiseg.evaluation.report import (
    Gallery,
    Panel,
    duration,
    pixel_accuracy,
    render_report,
)
from multiseg.evaluation.run_summary import RunSummary, best_single, last_multi, with_colors
from multiseg.label_space import LabelClass, LabelSpace

VOID = {"meta", "img", "wbr"}
SPACE = LabelSpace(
    "park",
    (LabelClass("tree", (0,), (0, 200, 0)), LabelClass("sky", (1,), (0, 0, 200)), LabelClass("bench", (2,), (9, 9, 9))),
)


class Page(HTMLParser):
    """Checks that tags nest, and collects what tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.rows, self.cell, self.text = [], [], [], None, ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "b":
            self.rows[-1][-1] += "*"

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += ("|" if "gain" in self.tags[-1][1].get("class", "") else "") + data

    def all(self, tag, **attrs):
        return [a for name, a in self.tags if name == tag and all(a.get(key) == value for key, value in attrs.items())]

    def pictures(self):
        return [Image.open(io.BytesIO(base64.b64decode(a["src"].split(",")[1]))) for a in self.all("img")]


def scores(**per_class):
    miou = sum(per_class.values()) / len(per_class)
    return Scores(miou, 50.0, 60.0, {name.replace("_", " "): iou for name, iou in per_class.items()}, ())


def run(name, *trained_on, **by_dataset):
    return RunSummary(name, f"runs/{name}", "a: 1\n", trained_on, "Method", 10, 5.0, scores=by_dataset)


def comparison():
    return [
        run("t", "town", town=scores(road=60.0, car=30.0)),
        run("p", "park", park=scores(tree=50.0, sky=70.0)),
        run("both", "town", "park", town=scores(road=58.0, car=40.0), park=scores(tree=51.0, sky=68.6)),
    ]


def test_table_shows_scores_gains_and_the_best_in_bold():
    rows = Page(render_report("x", comparison())).rows
    assert rows[:5] == [
        ["run", "method", "town", "park", "mean"],
        ["t", "Method", "45.0", "–", "–"],
        ["p", "Method", "–", "*60.0", "–"],
        ["both", "Method", "*49.0|+4.0", "59.8|−0.2", "*54.4|+1.9"],
        ["Method, one model each", "Method", "45.0", "60.0", "52.5"],
    ]


def test_the_gains_are_also_said_in_words():
    page = Page(render_report("x", comparison()))
    assert "Against a model trained on the dataset alone: both +1.9 on average, better on 1 of 2 datasets." in page.text


def test_figures_that_look_equal_are_equally_bold():
    runs = [run(name, "town", town=scores(road=iou)) for name, iou in [("a", 61.04), ("b", 60.96), ("c", 60.9)]]
    rows = Page(render_report("x", runs)).rows
    assert [row[2] for row in rows[1:4]] == ["*61.0", "*61.0", "60.9"]


def test_a_single_figure_in_a_column_is_not_best():
    assert Page(render_report("x", [run("a", "town", town=scores(road=1.0))])).rows[1] == ["a", "Method", "1.0"]


def test_without_a_single_dataset_run_the_page_says_that_there_are_no_gains():
    page = Page(render_report("x", comparison()[2:]))
    assert "no gains to show" in page.text
    assert "+" not in "".join(page.rows[1])


def test_a_score_that_is_not_a_number_is_a_dash():
    empty = Scores(math.nan, math.nan, math.nan, {}, ("tree",))
    page = Page(render_report("x", [run("a", "park", park=scores(tree=4.0)), run("b", "park", "town", park=empty)]))
    assert [row[2] for row in page.rows[1:3]] == ["4.0", "–"]
    assert "nan" not in page.text


def test_gains_are_against_the_best_run_on_the_dataset_alone():
    weak, strong = run("weak", "town", town=scores(road=10.0)), run("strong", "town", town=scores(road=20.0))
    remapped = run("remapped", "town", "park", town=scores(road=90.0))  # judged on one, but trained on two
    runs = [weak, strong, remapped]
    assert best_single(runs, "town") is strong
    assert best_single(runs, "park") is None
    assert last_multi(runs, "town") is remapped
    assert last_multi(runs, "park") is None
    assert Page(render_report("x", runs)).rows[3][2] == "*90.0|+70.0"


def test_runs_judged_on_different_classes_are_pointed_out():
    runs = [run("a", "town", town=scores(road=1.0)), run("b", "town", town=scores(road=1.0, car=2.0))]
    assert "town: the runs were not judged on the same classes" in Page(render_report("x", runs)).text
    assert "not judged on the same" not in Page(render_report("x", comparison())).text


def test_runs_that_meet_have_different_colours_and_others_share():
    runs = with_colors([*comparison(), run("t2", "town"), run("far", "moon"), run("p2", "park")])
    assert [entry.color for entry in runs] == [0, 0, 1, 2, 0, 2]
    for first in runs:
        for second in runs:
            if first is not second and {*first.trained_on} & {*second.trained_on}:
                assert first.color != second.color


def test_classes_are_sorted_by_gain_with_a_bar_for_each_run():
    page = render_report("x", comparison())
    shown = re.findall(
        r'<div class="class"><span>(.*?)</span><div>(.*?)</div><span class="gain(.*?)">(.*?)</span>', page
    )
    assert [(name, kind, gain) for name, _, kind, gain in shown] == [
        ("car", " up", "+10.0"),
        ("road", " down", "−2.0"),
        ("tree", " up", "+1.0"),
        ("sky", " down", "−1.4"),
    ]
    assert re.findall(r"width:(.*?)%", shown[0][1]) == ["30.0", "40.0"]
    assert "sorted by what both gains over t." in page


def test_without_gains_classes_keep_the_order_of_the_dataset():
    page = render_report("x", comparison()[2:])
    assert re.findall(r'<div class="class"><span>(.*?)</span>', page) == ["road", "car", "tree", "sky"]


def test_absent_classes_are_named():
    entry = Scores(5.0, 5.0, 5.0, {"road": 5.0}, ("car", "sky"))
    assert "no pixel is labelled so: car, sky." in Page(render_report("x", [run("a", "town", town=entry)])).text


def test_curves_of_each_dataset_and_of_other_losses():
    both = comparison()[2]
    curves = {"loss/town": [(1, 2.0)], "val/town/mIoU": [(1, 3.0)], "loss/contrast": [(1, 4.0)], "loss": [(1, 5.0)]}
    run_with_log = RunSummary(**{**vars(both), "curves": curves})
    page = Page(render_report("x", [comparison()[0], run_with_log]))
    charts = [svg["aria-label"] for svg in page.all("svg") if "aria-label" in svg]
    assert charts == ["town: loss", "town: mIoU in validation", "loss/contrast"]
    assert "Without a log: t." in page.text


def test_a_log_with_nothing_but_the_total_loss_is_drawn():
    moco = RunSummary("m", "m", "", ("town",), curves={"loss": [(1, 2.0), (2, 1.0)], "share/town": [(1, 1.0)]})
    page = Page(render_report("x", [moco]))
    assert [svg["aria-label"] for svg in page.all("svg") if "aria-label" in svg] == ["loss"]


def headings(runs, **more):
    return re.findall("<h2>(.*?)</h2>", render_report("x", runs, **more))


def test_runs_that_prepare_a_network_have_sections_of_their_own():
    curves = {"loss": [(1, 2.0)]}
    puzzles = RunSummary(
        "j", "j", "", ("town",), "Jigsaw", curves=curves, proxy={"town": {"accuracy": 1, "chance": 0.1}}
    )
    tuned = RunSummary("mm", "mm", "", ("town",), "MixAndMatch", curves={**curves, "ordered": [(1, 0.5)]})
    own = ["Proxy tasks", "Mix-and-match tuning"]
    assert headings([puzzles, tuned]) == [*own, "Cost, and how to repeat it"]
    assert headings([*comparison(), puzzles, tuned]) == ["Scores", *own, *headings(comparison())[1:]]
    page = Page(render_report("x", [*comparison(), puzzles, tuned]))
    assert [row[0] for row in page.rows[:5]] == ["run", "t", "p", "both", "Method, one model each"]
    assert [svg["aria-label"] for svg in page.all("svg", **{"class": "chart"})] == [
        *("loss in training", "loss", "share of triplets in order"),
    ]


def test_pictures_are_small_jpegs_of_image_truth_and_predictions():
    labels = np.full((200, 640), 1)
    labels[:, :320] = 0
    labels[:40] = -1
    panel = Panel("val/7", np.zeros((3, 200, 640), np.uint8), labels, {"both": np.zeros_like(labels)})
    page = Page(render_report("x", comparison(), [Gallery(SPACE, "val", [panel])]))
    image, truth, prediction = (np.asarray(picture).astype(int) for picture in page.pictures())
    assert image.shape == truth.shape == prediction.shape == (100, 320, 3)
    assert image.max() < 5
    assert truth[5, 100].max() < 20  # ignored: the black image
    assert truth[60, 80] == pytest.approx([0, 130, 0], abs=15)
    assert truth[60, 240] == pytest.approx([0, 0, 130], abs=15)
    assert prediction[60, 240] == pytest.approx([0, 130, 0], abs=15)
    assert [entry["alt"] for entry in page.all("img")] == ["val/7: image", "val/7: truth", "val/7: prediction of both"]
    assert "50.0 %" in page.text
    assert len(page.all("span", **{"class": "swatch"})) == 2  # no bench


def test_pixel_accuracy_leaves_ignored_pixels_out():
    assert pixel_accuracy(np.array([[0, 1, 1, 0]]), np.array([[0, 1, 0, -1]])) == pytest.approx(200 / 3)
    assert math.isnan(pixel_accuracy(np.array([0]), np.array([-1])))


def test_the_page_asks_for_nothing_from_outside_and_runs_nothing():
    panel = Panel("k", np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8), int), {})
    text = render_report("x", comparison(), [Gallery(SPACE, "val", [panel])])
    page = Page(text)
    assert {"script", "link", "iframe", "object"}.isdisjoint(tag for tag, _ in page.tags)
    assert all(value.startswith("data:") for _, a in page.tags for key, value in a.items() if key in ("src", "href"))
    assert not any(key.startswith("on") for _, a in page.tags for key in a)
    assert not re.search(r"https?:|@import|url\(", text)


EVIL = "<script>alert('x')</script>\"&"


def test_whatever_comes_from_outside_is_escaped():
    space = LabelSpace(EVIL, (LabelClass(EVIL, (0,), (1, 2, 3)),))
    entry = Scores(1.0, 1.0, 1.0, {EVIL: 1.0}, (EVIL + "2",))
    curves = {f"loss/{EVIL}": [(1, 1.0)], f"loss/other{EVIL}": [(1, 1.0)]}
    single = RunSummary(EVIL, EVIL, f"</pre>{EVIL}", (EVIL,), EVIL, 1, 1.0, {EVIL: entry}, curves, (EVIL,))
    multi = RunSummary(f"m{EVIL}", EVIL, "", (EVIL, "b"), EVIL, 1, 1.0, {EVIL: entry})
    panel = Panel(EVIL, np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8), int), {EVIL: np.zeros((8, 8), int)})
    text = render_report(EVIL, [single, multi], [Gallery(space, EVIL, [panel])], [EVIL])
    assert "<script" not in text
    page = Page(text)
    assert page.text.count(EVIL) > 20
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in Page(render_report("x", comparison())).tags} | {
        *("img", "p", "figure", "figcaption", "code", "ul", "li", "svg", "g", "line", "text", "circle", "polyline"),
        *("rect", "title"),
    }
    assert panel.key in [entry["alt"].split(": image")[0] for entry in page.all("img")]


def test_an_unfinished_run_leaves_a_page_of_sentences():
    unfinished = RunSummary("a", "runs/a", "data: {}\n", ("town",), notes=("it has no metrics.",))
    page = Page(render_report("x", [unfinished], notes=["No pictures of town: gone."]))
    for sentence in (
        "a: it has no metrics.",
        "No run has scores yet.",
        "No run has a log.",
        "No pictures of town: gone.",
    ):
        assert sentence in page.text
    assert page.rows[-1] == ["a", "town", "–", "–", "–"]


def test_cost_and_how_to_repeat():
    spaced = RunSummary("a", "my runs/a", "steps: 700\n", ("town", "park"), "M", 1200, 3723.4)
    page = Page(render_report("x", [spaced]))
    assert page.rows[-1] == ["a", "town, park", "1,200", "1:02:03 h", "3.10"]
    assert "multiseg train 'my runs/a/config.yaml'" in page.text
    assert "steps: 700\n" in page.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (3599.7, "1:00:00 h"), (90061, "25:01:01 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_same_input_gives_the_same_page():
    assert render_report("x", comparison()) == render_report("x", comparison())
