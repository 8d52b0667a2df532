"""Describes a folder that nobody has described: finds images, masks, splits and classes, and writes a dataset.yaml."""
