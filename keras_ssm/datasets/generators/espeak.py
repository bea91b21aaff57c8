"""The speech synthesizer eSpeak NG, through its C library."""

import ctypes
import ctypes.util
import functools
import pathlib

import numpy as np

# Names of speak_lib.h.
SYNCHRONOUS, POSITION_CHARACTER, UTF8, DONT_EXIT = 2, 1, 1, 0x8000
RATE, PITCH = 1, 3
CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
# Its English accents; "en-gb" takes no variants in the library.
ACCENTS = (
    *("en", "en-029", "en-gb-scotland", "en-gb-x-gbclan"),
    *("en-gb-x-gbcwmd", "en-gb-x-rp", "en-us", "en-us-nyc"),
)


def available() -> bool:
    """Whether the library is installed.

    Returns:
        True or False; nothing is raised.
    """
    return ctypes.util.find_library("espeak-ng") is not None


@functools.cache
def variants() -> tuple[str, ...]:
    """The voices that an accent can be spoken in.

    Returns:
        Their names, sorted.

    Raises:
        ImportError: if eSpeak NG is not installed.
    """
    path = ctypes.c_char_p()
    _library()[0].espeak_Info(ctypes.byref(path))
    folder = pathlib.Path((path.value or b"").decode()) / "voices" / "!v"
    return tuple(sorted(entry.name for entry in folder.iterdir()))


def say(text: str, accent: str, variant: str, speed: int, pitch: int) -> tuple[np.ndarray, int]:
    """Speak a text.

    The sound depends a little on what this process said before: the library
    keeps the state of its oscillators and noise, and has no way to reset it.

    Args:
        text: text to speak.
        accent: one of `ACCENTS`.
        variant: one of `variants()`.
        speed: words per minute, 80 to 450, normally 175.
        pitch: 0 to 100, normally 50.

    Returns:
        Samples as int16, and their number per second.

    Raises:
        ImportError: if eSpeak NG is not installed.
        ValueError: if it does not have the voice.
    """
    library, rate, blocks = _library()
    voice = f"{accent}+{variant}"
    # It takes an unknown variant for none at all.
    if variant not in variants() or library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"expected a voice of eSpeak NG. Received: {voice}")
    library.espeak_SetParameter(RATE, speed, 0)
    library.espeak_SetParameter(PITCH, pitch, 0)
    blocks.clear()
    content = text.encode()
    library.espeak_Synth(content, len(content) + 1, 0, POSITION_CHARACTER, 0, UTF8, None, None)
    return np.concatenate([np.zeros(0, dtype=np.int16), *blocks]), rate


@functools.cache
def _library() -> tuple[ctypes.CDLL, int, list[np.ndarray]]:
    """The library, its samples per second, and where it leaves the blocks of sound."""
    name = ctypes.util.find_library("espeak-ng")
    if name is None:
        raise ImportError(
            "speech is synthesized by eSpeak NG, which is not installed. "
            "Install the package espeak-ng of your system: `apt install espeak-ng` on Debian."
        )
    library = ctypes.CDLL(name)
    library.espeak_Info.restype = ctypes.c_char_p
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, None, DONT_EXIT)
    if rate <= 0:
        raise ImportError(
            f"{name} finds no voices (espeak_Initialize gave {rate}). "
            "Install the package espeak-ng-data of your system."
        )
    blocks: list[np.ndarray] = []

    @CALLBACK
    def keep(samples, count: int, events: int | None) -> int:  # type: ignore[no-untyped-def]
        if samples and count:
            blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(keep)
    library.keep = keep  # type: ignore[attr-defined]  # C holds no reference
    return library, rate, blocks
