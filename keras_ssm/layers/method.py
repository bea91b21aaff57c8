"""How DSS and S4D compute a long convolution, and what `method="auto"` takes."""

METHODS = ("fft", "chunk")


def resolve(method: str, length: object) -> str:
    """`method`, or what is fastest here for `"auto"`."""
    return "fft" if method == "auto" else method
