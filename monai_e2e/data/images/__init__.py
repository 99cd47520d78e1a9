"""How a file becomes an image: DICOM and pictures, headers, brightness. Knows nothing of data sets."""
