"""A hospital's own images: any folder, and a table of labels."""
