"""Synthetic datasets: one drawn world, four places, four looks, and four taxonomies that clash as real ones do."""

from multiseg.synthetic.domains import DOMAINS, Domain, render
from multiseg.synthetic.layouts import all_layouts
from multiseg.synthetic.world import WORLD_CLASSES, Scene
from multiseg.synthetic.writers import write_datasets

__all__ = ["DOMAINS", "WORLD_CLASSES", "Domain", "Scene", "all_layouts", "render", "write_datasets"]
