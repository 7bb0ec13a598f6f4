"""Metrics of image quality. Each module holds one metric or family; the registry imports them all."""
