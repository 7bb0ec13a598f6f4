"""A trainer for image super-resolution networks. `docs/architecture.md` says where everything is."""

__version__ = "0.1.0"
