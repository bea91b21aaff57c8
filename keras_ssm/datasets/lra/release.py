"""The archive of the Long Range Arena.

It holds ListOps, the pairs of Retrieval and Pathfinder; Text and Image have
archives of their own.
"""

from keras_ssm.datasets.sources import Source

URL = "https://storage.googleapis.com/long-range-arena/lra_release.gz"
# The archive has a folder lra_release in a folder lra_release; the outer one holds
# an old pathfinder128 whose images do not fit their labels, so the inner one comes
# first. Three levels: the archive may be unpacked into a folder of its own name.
_UNDER = ("lra_release/lra_release/lra_release", "lra_release/lra_release", "lra_release", "")


def source(folder: str) -> Source:
    """Where a folder of the release comes from.

    Args:
        folder: `"listops-1000"`, `"tsv_data"`, or `"pathfinder32"`, 64, 128 or 256.

    Returns:
        A `keras_ssm.datasets.sources.Source`. No checksum of the archive is published.

    References:
        Tay et al.: Long Range Arena, ICLR 2021. google-research/long-range-arena,
        README.md and issue 38.
    """
    note = "8.2 GB, of which only this folder is unpacked"
    return Source(folder, "lra_release.gz", URL, note=note, under=_UNDER)
