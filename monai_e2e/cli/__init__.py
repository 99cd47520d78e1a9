"""The command ``monai-e2e``: one file per group of commands, which parse, call and print."""
