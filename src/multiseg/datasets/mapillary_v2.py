"""Mapillary Vistas v2.0: the 20,000 labelled street scenes of v1.2 with finer labels, 116 classes evaluated.

Neuhold, Ollmann, Rota Bulò, Kontschieder: "The Mapillary Vistas dataset for semantic understanding of street scenes",
ICCV 2017. Ids are the places in the official `config_v2.0.json`, names are its readable ones; things are the classes
that it says have instances.
"""

from __future__ import annotations

from collections.abc import Iterable

from multiseg.datasets.base import CocoPanopticDataset, DatasetCard, PanopticFiles, SegmentationDataset
from multiseg.label_space import LabelClass, LabelSpace

_FOLDERS = {"train": "training", "val": "validation"}

#: What the official file does not evaluate: ambiguous barriers, groups of persons, ambiguous markings, ambiguous
#: signage, groups of poles, ambiguous traffic signs, groups of vehicles, and what is unlabeled.
_IGNORED = (2, 31, 38, 79, 86, 96, 115, 123)
_CLASSES = (
    LabelClass("Bird", (0,), (165, 42, 42), thing=True),
    LabelClass("Ground Animal", (1,), (0, 192, 0), thing=True),
    LabelClass("Concrete Block", (3,), (250, 170, 32)),
    LabelClass("Curb", (4,), (196, 196, 196)),
    LabelClass("Fence", (5,), (190, 153, 153)),
    LabelClass("Guard Rail", (6,), (180, 165, 180)),
    LabelClass("Barrier", (7,), (90, 120, 150)),
    LabelClass("Road Median", (8,), (250, 170, 33)),
    LabelClass("Road Side", (9,), (250, 170, 34)),
    LabelClass("Lane Separator", (10,), (128, 128, 128)),
    LabelClass("Temporary Barrier", (11,), (250, 170, 35), thing=True),
    LabelClass("Wall", (12,), (102, 102, 156)),
    LabelClass("Bike Lane", (13,), (128, 64, 255)),
    LabelClass("Crosswalk - Plain", (14,), (140, 140, 200), thing=True),
    LabelClass("Curb Cut", (15,), (170, 170, 170)),
    LabelClass("Driveway", (16,), (250, 170, 36), thing=True),
    LabelClass("Parking", (17,), (250, 170, 160)),
    LabelClass("Parking Aisle", (18,), (250, 170, 37)),
    LabelClass("Pedestrian Area", (19,), (96, 96, 96)),
    LabelClass("Rail Track", (20,), (230, 150, 140)),
    LabelClass("Road", (21,), (128, 64, 128)),
    LabelClass("Road Shoulder", (22,), (110, 110, 110)),
    LabelClass("Service Lane", (23,), (110, 110, 110)),
    LabelClass("Sidewalk", (24,), (244, 35, 232)),
    LabelClass("Traffic Island", (25,), (128, 196, 128)),
    LabelClass("Bridge", (26,), (150, 100, 100)),
    LabelClass("Building", (27,), (70, 70, 70)),
    LabelClass("Garage", (28,), (150, 150, 150)),
    LabelClass("Tunnel", (29,), (150, 120, 90)),
    LabelClass("Person", (30,), (220, 20, 60), thing=True),
    LabelClass("Bicyclist", (32,), (255, 0, 0), thing=True),
    LabelClass("Motorcyclist", (33,), (255, 0, 100), thing=True),
    LabelClass("Other Rider", (34,), (255, 0, 200), thing=True),
    LabelClass("Lane Marking - Dashed Line", (35,), (255, 255, 255)),
    LabelClass("Lane Marking - Straight Line", (36,), (255, 255, 255)),
    LabelClass("Lane Marking - Zigzag Line", (37,), (250, 170, 29)),
    LabelClass("Lane Marking - Arrow (Left)", (39,), (250, 170, 26), thing=True),
    LabelClass("Lane Marking - Arrow (Other)", (40,), (250, 170, 25), thing=True),
    LabelClass("Lane Marking - Arrow (Right)", (41,), (250, 170, 24), thing=True),
    LabelClass("Lane Marking - Arrow (Split Left or Straight)", (42,), (250, 170, 22), thing=True),
    LabelClass("Lane Marking - Arrow (Split Right or Straight)", (43,), (250, 170, 21), thing=True),
    LabelClass("Lane Marking - Arrow (Straight)", (44,), (250, 170, 20), thing=True),
    LabelClass("Lane Marking - Crosswalk", (45,), (255, 255, 255), thing=True),
    LabelClass("Lane Marking - Give Way (Row)", (46,), (250, 170, 19), thing=True),
    LabelClass("Lane Marking - Give Way (Single)", (47,), (250, 170, 18), thing=True),
    LabelClass("Lane Marking - Hatched (Chevron)", (48,), (250, 170, 12)),
    LabelClass("Lane Marking - Hatched (Diagonal)", (49,), (250, 170, 11)),
    LabelClass("Lane Marking - Other", (50,), (255, 255, 255), thing=True),
    LabelClass("Lane Marking - Stop Line", (51,), (255, 255, 255), thing=True),
    LabelClass("Lane Marking - Symbol (Bicycle)", (52,), (250, 170, 16), thing=True),
    LabelClass("Lane Marking - Symbol (Other)", (53,), (250, 170, 15), thing=True),
    LabelClass("Lane Marking - Text", (54,), (250, 170, 15), thing=True),
    LabelClass("Lane Marking (only) - Dashed Line", (55,), (255, 255, 255)),
    LabelClass("Lane Marking (only) - Crosswalk", (56,), (255, 255, 255)),
    LabelClass("Lane Marking (only) - Other", (57,), (255, 255, 255)),
    LabelClass("Lane Marking (only) - Test", (58,), (255, 255, 255)),
    LabelClass("Mountain", (59,), (64, 170, 64)),
    LabelClass("Sand", (60,), (230, 160, 50)),
    LabelClass("Sky", (61,), (70, 130, 180)),
    LabelClass("Snow", (62,), (190, 255, 255)),
    LabelClass("Terrain", (63,), (152, 251, 152)),
    LabelClass("Vegetation", (64,), (107, 142, 35)),
    LabelClass("Water", (65,), (0, 170, 30)),
    LabelClass("Banner", (66,), (255, 255, 128), thing=True),
    LabelClass("Bench", (67,), (250, 0, 30), thing=True),
    LabelClass("Bike Rack", (68,), (100, 140, 180), thing=True),
    LabelClass("Catch Basin", (69,), (220, 128, 128), thing=True),
    LabelClass("CCTV Camera", (70,), (222, 40, 40), thing=True),
    LabelClass("Fire Hydrant", (71,), (100, 170, 30), thing=True),
    LabelClass("Junction Box", (72,), (40, 40, 40), thing=True),
    LabelClass("Mailbox", (73,), (33, 33, 33), thing=True),
    LabelClass("Manhole", (74,), (100, 128, 160), thing=True),
    LabelClass("Parking Meter", (75,), (20, 20, 255), thing=True),
    LabelClass("Phone Booth", (76,), (142, 0, 0), thing=True),
    LabelClass("Pothole", (77,), (70, 100, 150)),
    LabelClass("Signage - Advertisement", (78,), (250, 171, 30), thing=True),
    LabelClass("Signage - Back", (80,), (250, 173, 30), thing=True),
    LabelClass("Signage - Information", (81,), (250, 174, 30), thing=True),
    LabelClass("Signage - Other", (82,), (250, 175, 30), thing=True),
    LabelClass("Signage - Store", (83,), (250, 176, 30), thing=True),
    LabelClass("Street Light", (84,), (210, 170, 100), thing=True),
    LabelClass("Pole", (85,), (153, 153, 153), thing=True),
    LabelClass("Traffic Sign Frame", (87,), (128, 128, 128), thing=True),
    LabelClass("Utility Pole", (88,), (0, 0, 80), thing=True),
    LabelClass("Traffic Cone", (89,), (210, 60, 60), thing=True),
    LabelClass("Traffic Light - General (Single)", (90,), (250, 170, 30), thing=True),
    LabelClass("Traffic Light - Pedestrians", (91,), (250, 170, 30), thing=True),
    LabelClass("Traffic Light - General (Upright)", (92,), (250, 170, 30), thing=True),
    LabelClass("Traffic Light - General (Horizontal)", (93,), (250, 170, 30), thing=True),
    LabelClass("Traffic Light - Cyclists", (94,), (250, 170, 30), thing=True),
    LabelClass("Traffic Light - Other", (95,), (250, 170, 30), thing=True),
    LabelClass("Traffic Sign (Back)", (97,), (192, 192, 192), thing=True),
    LabelClass("Traffic Sign - Direction (Back)", (98,), (192, 192, 192), thing=True),
    LabelClass("Traffic Sign - Direction (Front)", (99,), (220, 220, 0), thing=True),
    LabelClass("Traffic Sign (Front)", (100,), (220, 220, 0), thing=True),
    LabelClass("Traffic Sign - Parking", (101,), (0, 0, 196), thing=True),
    LabelClass("Traffic Sign - Temporary (Back)", (102,), (192, 192, 192), thing=True),
    LabelClass("Traffic Sign - Temporary (Front)", (103,), (220, 220, 0), thing=True),
    LabelClass("Trash Can", (104,), (140, 140, 20), thing=True),
    LabelClass("Bicycle", (105,), (119, 11, 32), thing=True),
    LabelClass("Boat", (106,), (150, 0, 255), thing=True),
    LabelClass("Bus", (107,), (0, 60, 100), thing=True),
    LabelClass("Car", (108,), (0, 0, 142), thing=True),
    LabelClass("Caravan", (109,), (0, 0, 90), thing=True),
    LabelClass("Motorcycle", (110,), (0, 0, 230), thing=True),
    LabelClass("On Rails", (111,), (0, 80, 100), thing=True),
    LabelClass("Other Vehicle", (112,), (128, 64, 64), thing=True),
    LabelClass("Trailer", (113,), (0, 0, 110), thing=True),
    LabelClass("Truck", (114,), (0, 0, 70), thing=True),
    LabelClass("Wheeled Slow", (116,), (0, 0, 192), thing=True),
    LabelClass("Water Valve", (117,), (170, 170, 170), thing=True),
    LabelClass("Car Mount", (118,), (32, 32, 32)),
    LabelClass("Dynamic", (119,), (111, 74, 0)),
    LabelClass("Ego Vehicle", (120,), (120, 10, 10)),
    LabelClass("Ground", (121,), (81, 0, 81)),
    LabelClass("Static", (122,), (111, 111, 0)),
)


class MapillaryV2(SegmentationDataset):
    """Reads the palette masks. The testing split has none and so is none here."""

    reader = "mapillary_v2"
    card = DatasetCard(
        title="Mapillary Vistas v2.0 (116 classes)",
        url="https://www.mapillary.com/dataset/vistas",
        license="Mapillary Vistas research edition, CC BY-NC-SA",
        citation="Neuhold et al., ICCV 2017",
        layout="{training,validation}/images/*.jpg\n{training,validation}/v2.0/labels/*.png",
    )
    splits = ("train", "val")
    markers = ("training/images", "training/v2.0/labels")
    label_space = LabelSpace("mapillary_v2", _CLASSES, ignore_ids=_IGNORED)

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        folder = _FOLDERS[self.split]
        return self.listing.pairs(f"{folder}/images", f"{folder}/v2.0/labels", (".jpg",), (".png",))


class MapillaryV2Panoptic(CocoPanopticDataset):
    """The same with segments. In the JSON, categories count from 1, and what is unlabeled has no segment."""

    reader = "mapillary_v2_panoptic"
    card = DatasetCard(
        title="Mapillary Vistas v2.0, panoptic (70 things, 46 stuff)",
        url=MapillaryV2.card.url,
        license=MapillaryV2.card.license,
        citation=MapillaryV2.card.citation,
        layout="{training,validation}/images/*.jpg\n{training,validation}/v2.0/panoptic/{panoptic_2020.json,*.png}",
    )
    splits = MapillaryV2.splits
    markers = ("training/images", "training/v2.0/panoptic")
    label_space = LabelSpace(
        "mapillary_v2_panoptic",
        tuple(LabelClass(entry.name, (entry.raw_ids[0] + 1,), entry.color, entry.thing) for entry in _CLASSES),
        ignore_ids=tuple(raw + 1 for raw in _IGNORED),
    )

    def panoptic_files(self) -> PanopticFiles:
        folder = _FOLDERS[self.split]
        masks = f"{folder}/v2.0/panoptic"
        return PanopticFiles(f"{masks}/panoptic_2020.json", masks, f"{folder}/images")
