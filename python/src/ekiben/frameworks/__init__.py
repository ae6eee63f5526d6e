"""Framework modules: ``save_model`` and ``load_model`` for one library each, which only its own module imports."""
