"""How work is done: in processes, one at a time for each folder, written whole or not at all, ended by Ctrl-C in order."""
