"""Command-line tools: `python -m keras_native NAME` calls `main(arguments)` of the module NAME."""
