"""Mapillary Vistas v1.2: 25,000 street scenes from all continents, of any size up to 22 megapixels, 65 classes.

Neuhold, Ollmann, Rota Bulò, Kontschieder: "The Mapillary Vistas dataset for semantic understanding of street scenes",
ICCV 2017. Ids are the places in the official `config.json`, names are its readable ones; things are the classes that it
says have instances. Its last label, unlabeled, is the one that is not evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable

from multiseg.datasets.base import CocoPanopticDataset, DatasetCard, Listing, PanopticFiles, SegmentationDataset
from multiseg.label_space import LabelClass, LabelSpace

_FOLDERS = {"train": "training", "val": "validation"}
_UNLABELED = 65
_CLASSES = (
    LabelClass("Bird", (0,), (165, 42, 42), thing=True),
    LabelClass("Ground Animal", (1,), (0, 192, 0), thing=True),
    LabelClass("Curb", (2,), (196, 196, 196)),
    LabelClass("Fence", (3,), (190, 153, 153)),
    LabelClass("Guard Rail", (4,), (180, 165, 180)),
    LabelClass("Barrier", (5,), (90, 120, 150)),
    LabelClass("Wall", (6,), (102, 102, 156)),
    LabelClass("Bike Lane", (7,), (128, 64, 255)),
    LabelClass("Crosswalk - Plain", (8,), (140, 140, 200), thing=True),
    LabelClass("Curb Cut", (9,), (170, 170, 170)),
    LabelClass("Parking", (10,), (250, 170, 160)),
    LabelClass("Pedestrian Area", (11,), (96, 96, 96)),
    LabelClass("Rail Track", (12,), (230, 150, 140)),
    LabelClass("Road", (13,), (128, 64, 128)),
    LabelClass("Service Lane", (14,), (110, 110, 110)),
    LabelClass("Sidewalk", (15,), (244, 35, 232)),
    LabelClass("Bridge", (16,), (150, 100, 100)),
    LabelClass("Building", (17,), (70, 70, 70)),
    LabelClass("Tunnel", (18,), (150, 120, 90)),
    LabelClass("Person", (19,), (220, 20, 60), thing=True),
    LabelClass("Bicyclist", (20,), (255, 0, 0), thing=True),
    LabelClass("Motorcyclist", (21,), (255, 0, 100), thing=True),
    LabelClass("Other Rider", (22,), (255, 0, 200), thing=True),
    LabelClass("Lane Marking - Crosswalk", (23,), (200, 128, 128), thing=True),
    LabelClass("Lane Marking - General", (24,), (255, 255, 255)),
    LabelClass("Mountain", (25,), (64, 170, 64)),
    LabelClass("Sand", (26,), (230, 160, 50)),
    LabelClass("Sky", (27,), (70, 130, 180)),
    LabelClass("Snow", (28,), (190, 255, 255)),
    LabelClass("Terrain", (29,), (152, 251, 152)),
    LabelClass("Vegetation", (30,), (107, 142, 35)),
    LabelClass("Water", (31,), (0, 170, 30)),
    LabelClass("Banner", (32,), (255, 255, 128), thing=True),
    LabelClass("Bench", (33,), (250, 0, 30), thing=True),
    LabelClass("Bike Rack", (34,), (100, 140, 180), thing=True),
    LabelClass("Billboard", (35,), (220, 220, 220), thing=True),
    LabelClass("Catch Basin", (36,), (220, 128, 128), thing=True),
    LabelClass("CCTV Camera", (37,), (222, 40, 40), thing=True),
    LabelClass("Fire Hydrant", (38,), (100, 170, 30), thing=True),
    LabelClass("Junction Box", (39,), (40, 40, 40), thing=True),
    LabelClass("Mailbox", (40,), (33, 33, 33), thing=True),
    LabelClass("Manhole", (41,), (100, 128, 160), thing=True),
    LabelClass("Phone Booth", (42,), (142, 0, 0), thing=True),
    LabelClass("Pothole", (43,), (70, 100, 150)),
    LabelClass("Street Light", (44,), (210, 170, 100), thing=True),
    LabelClass("Pole", (45,), (153, 153, 153), thing=True),
    LabelClass("Traffic Sign Frame", (46,), (128, 128, 128), thing=True),
    LabelClass("Utility Pole", (47,), (0, 0, 80), thing=True),
    LabelClass("Traffic Light", (48,), (250, 170, 30), thing=True),
    LabelClass("Traffic Sign (Back)", (49,), (192, 192, 192), thing=True),
    LabelClass("Traffic Sign (Front)", (50,), (220, 220, 0), thing=True),
    LabelClass("Trash Can", (51,), (140, 140, 20), thing=True),
    LabelClass("Bicycle", (52,), (119, 11, 32), thing=True),
    LabelClass("Boat", (53,), (150, 0, 255), thing=True),
    LabelClass("Bus", (54,), (0, 60, 100), thing=True),
    LabelClass("Car", (55,), (0, 0, 142), thing=True),
    LabelClass("Caravan", (56,), (0, 0, 90), thing=True),
    LabelClass("Motorcycle", (57,), (0, 0, 230), thing=True),
    LabelClass("On Rails", (58,), (0, 80, 100)),
    LabelClass("Other Vehicle", (59,), (128, 64, 64), thing=True),
    LabelClass("Trailer", (60,), (0, 0, 110), thing=True),
    LabelClass("Truck", (61,), (0, 0, 70), thing=True),
    LabelClass("Wheeled Slow", (62,), (0, 0, 192), thing=True),
    LabelClass("Car Mount", (63,), (32, 32, 32)),
    LabelClass("Ego Vehicle", (64,), (120, 10, 10)),
)


class Mapillary(SegmentationDataset):
    """Reads the palette masks, as v1.2 or v2.0 was downloaded. The testing split has none and so is none here."""

    reader = "mapillary"
    card = DatasetCard(
        title="Mapillary Vistas v1.2 (65 classes)",
        url="https://www.mapillary.com/dataset/vistas",
        license="Mapillary Vistas research edition, CC BY-NC-SA",
        citation="Neuhold et al., ICCV 2017",
        layout="{training,validation}/images/*.jpg\n"
        "{training,validation}/labels/*.png, or v1.2/labels/*.png where v2.0 was downloaded",
    )
    splits = ("train", "val")
    markers = ("training/images", ("training/labels", "training/v1.2/labels"))
    label_space = LabelSpace("mapillary", _CLASSES, ignore_ids=(_UNLABELED,))

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        folder = _FOLDERS[self.split]
        masks = f"{_truth_folder(self.listing, folder)}/labels"
        return self.listing.pairs(f"{folder}/images", masks, (".jpg",), (".png",))


class MapillaryPanoptic(CocoPanopticDataset):
    """The same with segments. In the JSON, categories count from 1, and what is unlabeled has no segment."""

    reader = "mapillary_panoptic"
    card = DatasetCard(
        title="Mapillary Vistas v1.2, panoptic (37 things, 28 stuff)",
        url=Mapillary.card.url,
        license=Mapillary.card.license,
        citation=Mapillary.card.citation,
        layout="{training,validation}/images/*.jpg\n{training,validation}/panoptic/{panoptic_2018.json,*.png}, "
        "or v1.2/panoptic where v2.0 was downloaded",
    )
    splits = Mapillary.splits
    markers = ("training/images", ("training/panoptic", "training/v1.2/panoptic"))
    label_space = LabelSpace(
        "mapillary_panoptic",
        tuple(LabelClass(entry.name, (entry.raw_ids[0] + 1,), entry.color, entry.thing) for entry in _CLASSES),
        ignore_ids=(_UNLABELED + 1,),
    )

    def panoptic_files(self) -> PanopticFiles:
        folder = _FOLDERS[self.split]
        masks = f"{_truth_folder(self.listing, folder)}/panoptic"
        return PanopticFiles(f"{masks}/panoptic_2018.json", masks, f"{folder}/images")


def _truth_folder(listing: Listing, folder: str) -> str:
    """The download of v2.0 keeps the truth of both versions apart."""
    return f"{folder}/v1.2" if listing.exists(f"{folder}/v1.2") else folder
