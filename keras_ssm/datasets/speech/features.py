"""Mel-frequency cepstral coefficients, as the official code computes them for Speech Commands."""

import functools

import numpy as np

SAMPLE_RATE = 16000
FEATURES = 20
_FRAME, _HOP, _MELS = 200, 100, 64


def mfcc(samples: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients of 16 kHz audio.

        power = |FFT(200 Hann-windowed samples every 100)|^2, centered, edges reflected
        mfcc = DCT-II(log(mel(power) + 1e-6)), orthonormal, the first 20 of 64

    with triangular mel filters of height 1 over 0 to 8 kHz, mel(f) = 2595 log10(1 + f / 700).

    Args:
        samples: int16 of shape (..., length), divided by 2^15 here; more than 100 samples.

    Returns:
        float32 of shape (..., length // 100 + 1, 20).

    References:
        `torchaudio.transforms.MFCC(log_mels=True, n_mfcc=20, melkwargs={"n_fft": 200,
        "n_mels": 64})` of state-spaces/s4, src/dataloaders/datasets/sc.py.
    """
    scaled = samples.astype("float32") / np.float32(2**15)
    margin = [(0, 0)] * (samples.ndim - 1) + [(_FRAME // 2, _FRAME // 2)]
    padded = np.pad(scaled, margin, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME, axis=-1)[..., ::_HOP, :]
    window, filters, cosines = _tables()
    spectrum = np.fft.rfft(frames * window)
    power = spectrum.real**2 + spectrum.imag**2
    return np.log(power @ filters + np.float32(1e-6)) @ cosines


@functools.cache
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Window (200,), mel filters (101, 64) and cosines (64, 20), float32."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)
    frequencies = np.linspace(0, SAMPLE_RATE / 2, _FRAME // 2 + 1)
    mels = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), _MELS + 2)
    low, middle, high = (700 * (10 ** (mels[i : _MELS + i] / 2595) - 1) for i in range(3))
    rising = (frequencies[:, None] - low) / (middle - low)
    falling = (high - frequencies[:, None]) / (high - middle)
    filters = np.maximum(0, np.minimum(rising, falling))
    numbers = np.arange(FEATURES)
    cosines = np.cos(np.pi / _MELS * (np.arange(_MELS)[:, None] + 0.5) * numbers)
    cosines *= np.where(numbers == 0, np.sqrt(1 / _MELS), np.sqrt(2 / _MELS))
    return window.astype("float32"), filters.astype("float32"), cosines.astype("float32")
