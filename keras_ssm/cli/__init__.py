"""The application behind the `keras-ssm` command, which uses the library as anyone could."""

from keras_ssm.cli.commands import main

__all__ = ["main"]
