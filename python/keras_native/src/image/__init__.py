"""What `src.ops.image` is made of, one module for each family."""
