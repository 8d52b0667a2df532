import pytest

from multiseg.configuration import find_recipe, read_recipe
from multiseg.instantiation import resolve
from multiseg.training_cost import images_per_update, nodes_per_graph

ALTERNATING = "multiseg.loading.sampling.Alternating"


def config(datasets=2, trainer=None, **data):
    return {"data": {"datasets": {str(number): {} for number in range(datasets)}, **data}, "trainer": trainer or {}}


@pytest.mark.parametrize(
    ("given", "images"),
    [
        (config(1, batch_size=8), 8),
        (config(3, batch_size=8), 24),
        (config(3, batch_size=8, total_batch_size=None, plan=None), 24),
        (config(3, batch_size=8, total_batch_size=16), 16),
        (config(3, {"accumulate": 4}, batch_size=8, total_batch_size=16), 64),
        (config(2, batch_size=8, plan={"class_path": "multiseg.loading.sampling.Mixed", "init_args": {}}), 16),
        (config(3, batch_size=8, plan={"class_path": ALTERNATING}), 24),  # an update is a turn of each dataset
        (config(3, batch_size=8, plan={"class_path": ALTERNATING, "init_args": {"update": "batch"}}), 8),
        (
            config(3, {"accumulate": 2}, batch_size=8, plan={"class_path": ALTERNATING, "init_args": {"interval": 5}}),
            16,
        ),
        (config(3, batch_size=8, plan={"class_path": "mine.Plan"}), None),
        (config(3), None),
        ({}, None),
        ({"data": None}, None),
    ],
)
def test_images_of_an_update(given, images):
    assert images_per_update(given) == images


def test_it_is_what_the_data_module_draws(data_roots):
    from multiseg.loading.datamodule import DataModule, DatasetEntry
    from multiseg.loading.sampling import Alternating

    entries = {name: DatasetEntry(root=str(root)) for name, root in data_roots.items()}
    for plan, written in ((None, None), (Alternating(), {"class_path": ALTERNATING})):
        data = DataModule(entries, plan=plan, batch_size=4)
        assert images_per_update(config(2, batch_size=4, plan=written)) == data.batch_size * data.turns


@pytest.mark.parametrize(
    ("given", "nodes"),
    [
        (config(1, batch_size=8, patches={"per_image": 10}), 80),
        (config(3, batch_size=8, patches={"per_image": 10}), 240),
        (config(3, batch_size=8, patches={"per_image": 5}), 120),
        (config(3, batch_size=8, patches={}), None),
        (config(3, {"accumulate": 4}, batch_size=8, total_batch_size=40, patches={"per_image": 10}), 400),
        (config(3, batch_size=8, plan={"class_path": ALTERNATING}, patches={"per_image": 10}), 80),  # one dataset's
        (config(1, batch_size=8, plan={"class_path": "mine.Plan"}, patches={"per_image": 10}), None),
        (config(1, batch_size=8), None),
    ],
)
def test_nodes_of_a_graph(given, nodes):
    assert nodes_per_graph(given) == nodes


def test_a_resolved_recipe_has_its_patches_as_they_were_written(data_roots):
    """Not as a class with arguments, or a run could not be resumed with its recipe."""
    written = read_recipe(find_recipe("mix_and_match"))
    written["data"]["datasets"] = {name: {"root": str(root)} for name, root in data_roots.items()}
    resolved = resolve(written)
    assert resolved["data"]["patches"]["per_image"] == 10 and "class_path" not in resolved["data"]["patches"]
    assert nodes_per_graph(resolved) == 160
