"""The primitives, one file a family; every module in this folder is imported when the engine is."""
