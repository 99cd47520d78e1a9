"""A hospital's export and its tables, as they are, made into the table of labels that ``prepare folder`` reads."""
