"""Points of the charts against graph size, read off the page."""

import re

from multiseg.evaluation.iou import Scores
from multiseg.evaluation.run_summary import RunSummary
from multiseg.evaluation.tuning_charts import Tuning, graph_size_charts, tuning_curves


def tuning(nodes, kind="from Jigsaw", seconds=None, name=""):
    name = name or f"mm{nodes}"
    return Tuning(name, f"runs/{name}", kind, nodes, nodes / 100 if seconds is None else seconds)


def tuned(name, miou, *datasets, method="Supervised"):
    scores = {dataset: Scores(value, 0.0, 0.0, {}, ()) for dataset, value in zip(datasets, miou, strict=True)}
    return RunSummary(name, f"runs/{name}", "a: 1\n", datasets, method, scores=scores)


def charts(section):
    """Title, and by point what is told under the pointer."""
    found = {}
    for figure in re.findall("<figure>(.*?)</figure>", section, re.S):
        told = re.findall("<title>(.*?)</title>", figure, re.S)
        found[re.search("<h3>(.*?)</h3>", figure)[1]] = [line for tip in told for line in tip.split("\n")]
    return found


def test_scores_and_times_against_nodes():
    runs = [tuned("a", [40.0, 20.0], "town", "park"), tuned("b", [50.0, 40.0], "town", "park")]
    section = graph_size_charts(runs, {"a": tuning(100), "b": tuning(200), "mm100": tuning(100)})
    assert charts(section) == {
        "mean mIoU of park, town": ["nodes: 100", "a: 30", "nodes: 200", "b: 45"],
        "time of tuning": ["nodes: 100", "mm100: 1", "nodes: 200", "mm200: 2"],
    }
    lines = re.findall(r'<polyline class="line (.*?)" points="(.*?)"', section)
    assert [(style, len(points.split())) for style, points in lines if " " in points] == [("run0", 2)] * 2


def test_a_line_joins_means_of_runs_that_are_alike_only():
    runs = [tuned(name, [miou], "town") for name, miou in [("a", 10.0), ("b", 20.0), ("c", 40.0), ("d", 90.0)]]
    given = {"a": tuning(100), "b": tuning(100, name="second"), "c": tuning(200)}
    section = graph_size_charts(runs, {**given, "d": tuning(100, "from random weights", name="third")})
    first = re.findall("<figure>(.*?)</figure>", section, re.S)[0]
    keys = re.findall(r"</svg>([^<]+)</li>", first)
    assert keys == ["Supervised from Jigsaw", "Supervised from random weights"]
    lines = [
        [tuple(map(float, point.split(","))) for point in points.split()]
        for points in re.findall(r'<polyline class="line run0" points="(.*?)"', first)
    ]
    (line,) = [line for line in lines if len(line) == 2]
    dots = dict(zip("abc", [line[0] for line in lines if len(line) == 1], strict=True))
    assert line[0][0] == dots["a"][0] == dots["b"][0] and line[1] == dots["c"]
    assert abs(line[0][1] - (dots["a"][1] + dots["b"][1]) / 2) < 0.11


def test_nothing_where_graphs_are_of_one_size_or_unknown():
    runs = [tuned("a", [40.0], "town"), tuned("b", [50.0], "town"), tuned("c", [50.0], "park")]
    assert graph_size_charts(runs, {"a": tuning(100), "b": tuning(100, name="second")}) == ""
    assert graph_size_charts(runs, {"a": tuning(100), "b": tuning(None, seconds=1.0, name="second")}) == ""
    assert graph_size_charts(runs, {}) == ""
    # of another dataset is not comparable, but its tuning's time is
    assert [*charts(graph_size_charts(runs, {"a": tuning(100), "c": tuning(200)}))] == ["time of tuning"]


def test_curves_are_those_of_tunings():
    mm = RunSummary("mm", "r", "a: 1\n", ("town",), curves={"loss": [(1, 2.0)], "ordered": [(1, 0.75)]})
    other = RunSummary("other", "r", "a: 1\n", ("town",), curves={"loss": [(1, 3.0)]})
    section = tuning_curves([mm, other])
    assert re.findall("<h3>(.*?)</h3>", section) == ["loss", "share of triplets in order"]
    assert "mm: 0.75" in section and "other" not in section
    assert tuning_curves([other]) == ""
    assert mm.prepares and not other.prepares
