"""A data set made ready from a folder of photographs of any size and quality: `scripts/prepare_dataset.py`.

`measures` looks at one image, `selection` decides over all of them, `writing` makes the folders, the manifest and
the page.
"""
