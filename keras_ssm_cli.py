"""The `keras-ssm` command: chooses the Keras backend before Keras is imported."""
