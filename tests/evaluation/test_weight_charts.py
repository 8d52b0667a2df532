"""The measure against a plain loop; the sections are asked what they show."""

import math
import re
from html import unescape

import numpy as np
import pytest

from multiseg.evaluation.weight_charts import (
    EPSILON,
    NormSet,
    RunNorms,
    distance,
    filters_section,
    norms_section,
)

LAYERS = ("network.backbone.bn1", "network.decoder.fuse.1")


def norm_set(*datasets, seed=0, channels=6, shift=0.0, layers=LAYERS):
    random = np.random.default_rng(seed)
    mean = {layer: random.normal(size=channels) + shift for layer in layers}
    return NormSet(datasets, mean, {layer: random.uniform(0.5, 2.0, channels) for layer in layers})


def run(name, *sets, trained_on=None, layers=LAYERS, filters=True):
    trained_on = trained_on or tuple(dataset for one in sets for dataset in one.datasets)
    norms = {layer: (layer.replace("bn", "conv"), np.array([1.0, 3.0, 2.0])) for layer in layers} if filters else {}
    return RunNorms(name, trained_on, sets, layers, {layer: (layer,) for layer in layers}, norms)


def charts(section):
    """(title, polylines as (class, y's))"""
    out = {}
    for svg in re.findall(r'<svg class="chart".*?</figure>', section, re.S):
        lines = re.findall(r'<polyline class="line (.*?)" points="(.*?)"', svg)
        title = unescape(re.search(r'aria-label="(.*?)"', svg)[1])
        out[title] = [(kind, [float(pair.split(",")[1]) for pair in points.split()]) for kind, points in lines]
    return out


def told(section):
    """What tooltips say."""
    return [unescape(text) for text in re.findall(r"<title>(.*?)</title>", section, re.S)]


def text_of(section):
    return unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<wbr>|<title>.*?</title>", "", section, flags=re.S)))


def rows(section):
    found = re.findall(r"<tr.*?</tr>", section)
    return [[unescape(re.sub("<.*?>", "", cell)) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in found]


def test_the_distance_against_a_loop():
    first, second = norm_set("a", seed=1), norm_set("b", seed=2)
    for layer in LAYERS:
        total = 0.0
        for channel in range(6):
            means = first.mean[layer][channel], second.mean[layer][channel]
            variances = first.variance[layer][channel] + EPSILON, second.variance[layer][channel] + EPSILON
            apart = (means[0] - means[1]) ** 2 + (math.sqrt(variances[0]) - math.sqrt(variances[1])) ** 2
            total += apart / (variances[0] + variances[1])
        assert distance(first, second, layer) == pytest.approx(total / 6)
        assert distance(second, first, layer) == pytest.approx(distance(first, second, layer))
        assert distance(first, first, layer) == 0


def test_landmarks_of_the_distance():
    def single(mean, variance):
        return NormSet(("a",), {"x": np.array([mean])}, {"x": np.array([variance])})

    assert distance(single(1.0, 4.0), single(3.0, 4.0), "x") == pytest.approx(0.5, rel=1e-5)
    assert distance(single(0.0, 0.0), single(0.0, 0.0), "x") == 0  # a channel that is always zero


def test_a_line_for_each_run_and_set_in_a_pair_of_charts_for_each_layer():
    runs = [
        run("t", norm_set("town")),
        run("p", norm_set("park", seed=1)),
        run("both", norm_set("town", seed=2), norm_set("park", seed=3)),
    ]
    section = norms_section(runs)
    shown = charts(section)
    assert [*shown] == [
        f"{layer}: running {what}" for layer in ("backbone.bn1", "decoder.fuse.1") for what in ("mean", "variance")
    ]
    for lines in shown.values():
        assert [kind for kind, _ in lines] == ["run0", "run1", "run0 dashed", "run1 dashed"]
    for name in ("t: town", "p: park", "both: town", "both: park"):
        assert f" {name} " in text_of(section)
    assert len(re.findall(r'<svg class="sample"', section)) == 4


def test_channels_are_sorted_within_each_run_by_the_mean_over_its_sets():
    first, second = norm_set("town", seed=2), norm_set("park", seed=3)
    section = norms_section([run("t", norm_set("town")), run("both", first, second)])
    layer = LAYERS[0]
    order = sorted(range(6), key=lambda channel: first.mean[layer][channel] + second.mean[layer][channel])
    for place, channel in enumerate(order):
        lines = told(section)[place].split("\n")
        assert lines[0] == f"channel {place + 1}"
        assert lines[2:] == [
            f"both: town: {first.mean[layer][channel]:.4g}",
            f"both: park: {second.mean[layer][channel]:.4g}",
        ]
    variance = told(section)[6].split("\n")
    assert float(variance[1].split(": ")[2]) == pytest.approx(norm_set("town").variance[layer].min(), rel=1e-3)
    alone = charts(section)["backbone.bn1: running mean"][0][1]
    assert alone == sorted(alone, reverse=True)  # upwards in the picture


def test_of_many_channels_evenly_spaced_ones_are_drawn():
    section = norms_section([run("t", norm_set("town", channels=500))])
    (_, places) = charts(section)["backbone.bn1: running mean"][0]
    assert len(places) == 64
    assert (told(section)[0].split("\n")[0], told(section)[63].split("\n")[0]) == ("channel 1", "channel 500")


def test_a_table_of_distances_names_the_nearest_pair():
    near, far = norm_set("park", seed=5, shift=0.1), norm_set("moon", seed=5, shift=3.0)
    town = norm_set("town", seed=5)
    three = run("three", town, far, near)
    pair = run("pair", town, near)
    section = norms_section([three, pair, run("t", town)])
    found = rows(section)
    layer = LAYERS[0]
    assert found[0] == ["stage", "norms", "mean of pairs", "nearest pair", "farthest pair"]
    values = [distance(*two, layer) for two in ((town, far), (town, near), (far, near))]
    assert found[1] == [
        *("backbone.bn1", "1", f"{sum(values) / 3:.3f}"),
        *(f"town and park ({values[1]:.3f})", f"town and moon ({values[0]:.3f})"),
    ]
    mean = (distance(town, near, LAYERS[0]) + distance(town, near, LAYERS[1])) / 2
    assert found[3][:2] == ["all norms", "2"]
    assert found[3][3] == f"town and park ({mean:.3f})"
    assert f"three: 3 datasets, 3 pairs; nearest town and park ({mean:.3f})." in text_of(section)
    assert found[4] == ["stage", "norms", "distance"]
    assert found[5] == ["backbone.bn1", "1", f"{values[1]:.3f}"]
    assert len(found) == 8
    assert "pair: town and park." in text_of(section)


def test_without_norms_of_datasets_there_is_no_table():
    assert "<table" not in norms_section([run("t", norm_set("town"))])


def test_without_norms_the_sections_are_silent():
    vit = RunNorms("vit", ("town",), (), (), {}, {})
    assert norms_section([]) == filters_section([]) == norms_section([vit]) == filters_section([vit]) == ""


def test_runs_without_norms_beside_others_are_named():
    vit = RunNorms("vit", ("town",), (), (), {}, {})
    assert "Without batch norms: vit." in text_of(norms_section([run("t", norm_set("town")), vit]))
    assert "vit" not in text_of(filters_section([run("t", norm_set("town")), vit]))


def test_what_cannot_be_told_apart_is_left_out_and_named_and_repetitions_first():
    seeds = [run(f"t{seed}", norm_set("town", seed=seed)) for seed in range(3)]
    many = run("many", *(norm_set(f"d{index}", seed=index) for index in range(7)))
    section = norms_section([*seeds, many])
    assert {len(lines) for lines in charts(section).values()} == {8}
    assert "so that lines can be told apart: t1: town, t2: town." in text_of(section)
    assert "so that lines can be told apart: t4: town, t5: town." in text_of(
        norms_section([run(f"t{seed}", norm_set("town", seed=seed)) for seed in range(6)])
    )


def test_networks_with_other_layers_have_charts_of_their_own():
    other = ("network.backbone.stem.bn",)
    runs = [
        run("a", norm_set("town")),
        run("b", norm_set("town", layers=other), layers=other),
        run("c", norm_set("park")),
    ]
    section = norms_section(runs)
    lines = charts(section)
    assert [len(lines[f"{layer}: running mean"]) for layer in ("backbone.bn1", "backbone.stem.bn")] == [2, 1]
    assert re.sub("<.*?>", "", re.search(r"<h3>(.*?)</h3>", section)[1]) == "a, c"
    wider = [run(f"w{width}", norm_set("town", channels=width)) for width in (2, 3, 4, 5)]
    assert "their networks have yet other layers: w5." in text_of(norms_section(wider))
    assert "their networks have yet other layers: w5." in text_of(filters_section(wider))


def test_filters_are_sorted_lines_of_runs_in_the_colours_of_the_norms():
    runs = [
        run("t", norm_set("town")),
        run("both", norm_set("town", seed=2), norm_set("park", seed=3)),
        run("joint", norm_set("town", "park")),
    ]
    section = filters_section(runs)
    lines = charts(section)
    assert [*lines] == ["backbone.conv1: norm of filters", "decoder.fuse.1: norm of filters"]
    assert [kind for kind, _ in lines["backbone.conv1: norm of filters"]] == ["run0", "run2", "run2 dashed"]
    assert told(section)[0] == "filter 1\nt: town: 3\nboth: town + park: 3\njoint: town + park: 3"
    assert told(section)[2].startswith("filter 3\nt: town: 1\n")


def test_a_channel_without_variance_is_drawn():
    dead = NormSet(("town",), {LAYERS[0]: np.zeros(2)}, {LAYERS[0]: np.zeros(2)})
    section = norms_section([run("t", dead, layers=LAYERS[:1])])
    assert not re.search(r"\bnan\b|\binf\b", section)
    assert f"t: town: {EPSILON:g}" in "\n".join(told(section))


def test_names_are_escaped():
    evil = "<script>alert('x')</script>\"&"
    layers = (evil,)
    runs = [
        run(evil, norm_set(evil, layers=layers), norm_set("b", seed=1, layers=layers), layers=layers),
        run("other", norm_set(evil), norm_set("b", seed=1)),
        RunNorms(evil, (evil,), (), (), {}, {}),
    ]
    for section in (norms_section(runs), filters_section(runs)):
        assert "<script" not in section
        assert evil in text_of(section)
