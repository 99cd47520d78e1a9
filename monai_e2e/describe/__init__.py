"""What networks are made of, to hold against the paper's Table 2."""
