"""Networks of other authors, built on the modules of spandrel. Importing the package fills the registry."""

from traiNNer.archs.published import attention, convolutions, restoration, transformers
from traiNNer.archs.published.family import FAMILIES, PUBLISHED

__all__ = ["FAMILIES", "PUBLISHED", "attention", "convolutions", "restoration", "transformers"]
