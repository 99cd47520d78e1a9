"""Where a data set comes from: tables and folders as records. Knows nothing of pixels."""
