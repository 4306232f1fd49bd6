"""What `src.ops.nn` is made of, one module for each family."""
