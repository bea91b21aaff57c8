"""The choice of the framework."""

import importlib

import keras
import pytest

import keras_ssm.backend


def test_an_unsupported_backend_is_named_beside_the_supported_ones(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(ValueError, match=r"jax, tensorflow, torch, numpy.*Received: .*'openvino'"):
        importlib.reload(keras_ssm.backend)
