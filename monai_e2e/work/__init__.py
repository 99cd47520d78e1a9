"""Processes, cluster workers, locks of folders, files that are written whole, and an orderly end at Ctrl-C."""
