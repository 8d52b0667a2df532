"""multiseg: one segmentation model from many datasets whose label sets disagree."""

__version__ = "0.1.0"
