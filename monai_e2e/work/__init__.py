"""How work is done: in processes, by one at a time for each folder, ended by Ctrl-C in order."""
