"""From image files to batches: the stream, the sources, the loader, image reading and resizing."""
