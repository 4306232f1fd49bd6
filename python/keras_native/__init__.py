"""keras-native: a Keras backend on its own C++ and CUDA kernels."""

__version__ = "0.1.0"
