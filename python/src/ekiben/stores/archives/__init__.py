"""Archives of models and bentos: files and directories that carry one item from home to home."""
