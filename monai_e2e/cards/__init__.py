"""Pages for readers and reviewers, filled in from what commands recorded: checklists of reporting, and model cards."""
