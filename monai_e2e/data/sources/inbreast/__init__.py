"""INbreast."""
