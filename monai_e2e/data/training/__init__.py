"""What a training draws from a prepared folder: patches, cached images, balanced samples."""
