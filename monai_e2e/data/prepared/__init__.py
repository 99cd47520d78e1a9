"""The folder between raw downloads and training: images, masks, data list, partitions, report."""
