"""The version of this package: what the build, the model file and every report name."""

__version__ = "0.1.0"
