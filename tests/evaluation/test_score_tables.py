"""Tables of mIoU and PQ with groups of runs, and both against cost; the section is asked what it shows."""

import math
import re
from dataclasses import replace

import pytest

from multiseg.evaluation.iou import Scores
from multiseg.evaluation.panoptic_quality import PanopticScores, Quality
from multiseg.evaluation.run_summary import RunSummary, dataset_names, with_colors
from multiseg.evaluation.score_tables import rounded, scores_section


def scores(miou, pq=None, absent=()):
    """Of three classes, of which PQ leaves out the absent ones."""
    panoptic = None
    if pq is not None:
        qualities = [Quality(pq + more, pq + more + 0.5, pq + more + 0.25) for more in (0, 10, 20)]
        panoptic = PanopticScores(*qualities, dict.fromkeys({"a", "b", "c"} - set(absent), qualities[0]), absent)
    return Scores(miou, 1.0, 2.0, {"a": miou}, (), panoptic)


def run(name, trained_on, images=None, method="MaskFormer", **by_dataset):
    return RunSummary(name, name, "", tuple(trained_on), method, scores=by_dataset, images=images)


def comparison(pq=True):
    """LMSeg on both, MaskFormer on each."""

    def own(miou, value):
        return scores(miou, value if pq else None)

    return [
        run("t", ["town"], 1000, town=own(40.0, 20.0)),
        run("p", ["park"], 500, park=own(60.0, 30.0)),
        run("both", ["town", "park"], 2_560_000, "LMSeg", town=own(44.0, 26.0), park=own(58.0, 29.0)),
    ]


def section(runs):
    return scores_section(with_colors(runs), dataset_names(runs))


def rows(page):
    """Cells as text: gains behind a |, what is bold behind a *."""

    def text(cell):
        cell = re.sub(r'<span class="gain[^"]*">', "|", cell).replace("<b>", "*")
        return re.sub("<.*?>", "", cell).rstrip("|")

    return [[text(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in re.findall("<tr.*?</tr>", page)]


def test_a_group_is_a_row_with_its_cost_and_the_caption_says_who_is_in_it():
    page = section(comparison(pq=False))
    assert rows(page) == [
        ["run", "method", "images seen", "town", "park", "mean"],
        ["t", "MaskFormer", "1k", "40.0", "–", "–"],
        ["p", "MaskFormer", "500", "–", "*60.0", "–"],
        ["both", "LMSeg", "2.56M", "*44.0|+4.0", "58.0|−2.0", "*51.0|+1.0"],
        ["MaskFormer, one model each", "MaskFormer", "1.5k", "40.0", "60.0", "50.0"],
    ]
    assert "<p>MaskFormer, one model each: t, p; cost is their sum.</p>" in page
    assert "Panoptic" not in page


def test_panoptic_quality_has_a_table_of_its_own():
    page = section(comparison())
    semantic, panoptic = page.split("<h3>Panoptic segmentation</h3>")
    assert "<h3>Semantic segmentation</h3>" in semantic
    table, details = panoptic.split("<details>")
    assert rows(table) == [
        ["run", "method", "images seen", "town (3)", "park (3)", "mean"],
        ["t", "MaskFormer", "1k", "20.0", "–", "–"],
        ["p", "MaskFormer", "500", "–", "*30.0", "–"],
        ["both", "LMSeg", "2.56M", "*26.0|+6.0", "29.0|−1.0", "*27.5|+2.5"],
        ["MaskFormer, one model each", "MaskFormer", "1.5k", "20.0", "30.0", "25.0"],
    ]
    assert "both +2.5 on average, better on 1 of 2 datasets" in table
    kinds = [f"{name}{of}" for of in ("", " things", " stuff") for name in ("PQ", "SQ", "RQ")]
    assert rows(details)[0] == ["run", "dataset", *kinds]
    assert rows(details)[3:] == [
        ["both", "town", "26.0", "26.5", "26.2", "36.0", "36.5", "36.2", "46.0", "46.5", "46.2"],
        ["both", "park", "29.0", "29.5", "29.2", "39.0", "39.5", "39.2", "49.0", "49.5", "49.2"],
    ]


def test_runs_without_segments_are_not_in_the_panoptic_table():
    runs = [*comparison(), run("pixels", ["town", "park"], 10, "MultiHead", town=scores(1.0), park=scores(2.0))]
    table = section(runs).split("<h3>Panoptic segmentation</h3>")[1]
    assert "pixels" not in {row[0] for row in rows(table)}


def test_a_class_only_predicted_does_not_make_runs_incomparable():
    """It counts in the mean of the run that predicts it, as the definition of PQ has it."""
    runs = [run("a", ["town"], town=scores(1.0, 2.0)), run("b", ["town"], town=scores(1.0, 2.0, absent=("c",)))]
    assert "not judged on the same" not in section(runs)
    other = replace(runs[1].scores["town"].panoptic, absent=("z",))
    runs[1] = run("b", ["town"], town=replace(runs[1].scores["town"], panoptic=other))
    assert section(runs).count("town: the runs were not judged on the same classes") == 1


def test_the_best_of_several_methods_keeps_a_row_of_its_own():
    runs = [*comparison(pq=False), run("better", ["town"], 1000, "PSPNet", town=scores(70.0))]
    names = [row[0] for row in rows(section(runs))]
    assert names[-2:] == ["MaskFormer, one model each", "the best model for each dataset alone"]


def charts(page):
    """By title: lines as (colour, points in the plane), dots as (colour, place)."""
    found = {}
    for title, svg in re.findall(r'<svg class="chart".*?aria-label="(.*?)">(.*?</svg>.*?)</svg>', page, re.S):
        lines = re.findall(r'<polyline class="line (\w+)" points="(.*?)"', svg)
        dots = re.findall(r'<circle class="dot (\w+)" cx="(.*?)" cy="(.*?)"', svg)
        found[title] = (
            [(kind, [tuple(map(float, place.split(","))) for place in places.split()]) for kind, places in lines],
            [(kind, float(x), float(y)) for kind, x, y in dots],
            svg,
        )
    return found


def test_mean_scores_are_drawn_against_the_images_seen():
    page = section(comparison())
    assert list(charts(page)) == ["mean mIoU", "mean PQ"]
    for title, (_, dots, svg) in charts(page).items():
        joint, group = dots
        assert joint[0] == "run0" and group[0] == "run1"  # the order of the key
        assert joint[1] / group[1] == pytest.approx(2_560_000 / 1500, rel=0.2)  # places are rounded to a tenth
        assert joint[2] < group[2]  # higher is better
        assert "images seen in training" in svg and f"{title}, %" in svg
        assert "MaskFormer, one model each: " in svg
    keys = re.findall(r'<li class="run (run\d)">.*?</svg>(.*?)</li>', page)
    assert keys == [("run0", "LMSeg"), ("run1", "MaskFormer, one model each")]


def test_a_line_joins_the_means_of_a_method_at_several_costs():
    def both(name, images, miou, method="LMSeg"):
        return run(name, ["town", "park"], images, method, town=scores(miou), park=scores(miou + 2))

    runs = [both("b", 200, 30.0), both("a", 100, 10.0), both("seed", 200, 40.0), both("other", 50, 1.0, "Multi")]
    lines, dots, _ = charts(section(runs))["mean mIoU"]
    lines = {kind: points for kind, points in lines if len(points) > 1}
    assert list(lines) == ["run0"]
    (x1, y1), (x2, y2) = lines["run0"]
    places = sorted((x, y) for kind, x, y in dots if kind == "run0")
    assert places[0] == (x1, y1)
    assert [x for x, _ in places[1:]] == [x2, x2] and x2 == pytest.approx(2 * x1)
    assert sum(y for _, y in places[1:]) / 2 == pytest.approx(y2, abs=0.1)
    assert len(dots) == 4


def test_what_has_no_cost_or_no_score_everywhere_is_not_drawn():
    gone = scores(math.nan)
    runs = [
        *comparison(pq=False)[2:],
        run("unknown", ["town", "park"], None, "X", town=scores(1.0), park=scores(1.0)),
        run("half", ["town", "park"], 10, "Y", town=scores(1.0), park=gone),
    ]
    assert charts(section(runs)) == {}  # one point is no comparison
    assert "Mean scores" not in section(runs)


def test_each_set_of_datasets_has_charts_of_its_own():
    def made(name, datasets, images):
        return run(name, datasets, images, "M", **dict.fromkeys(datasets, scores(images / 10)))

    runs = [made("a", "xy", 100), made("b", "xy", 200), made("c", "xyz", 100), made("d", "xyz", 300)]
    page = section(runs)
    assert re.findall("<h3>(Mean.*?)</h3>", page) == [
        "Mean scores of x, y against the cost of training",
        "Mean scores of x, y, z against the cost of training",
    ]
    assert page.count('class="chart"') == 2


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1k"),
        (12_800, "12.8k"),
        (999_900, "1000k"),
        (2_560_000, "2.56M"),
        (3 * 10**9, "3000M"),
    ],
)
def test_counts_are_rounded_for_reading(count, text):
    assert rounded(count) == text
