"""A newcomer's first hour, in an environment with the wheel and one framework: `make dist`.

README's first block, the first command, and a guide, none of them from the
repository's folder, so that what is run is what was installed.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).parents[1]


def first_block(page):
    """The first ```python block of a page."""
    return re.search(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL).group(1)


def stages(folder):
    """What is run: a name, and the arguments of a process."""
    run = [sys.executable, "-c"]
    command = str(pathlib.Path(sys.executable).with_name("keras-ssm"))
    digits = [command, "train", "digits", "--layer", "s5", "--set", "epochs=1", "--out", "demo"]
    yield "which package", [*run, "import keras_ssm; print(keras_ssm.__file__)"]
    yield "README's first block", [*run, first_block(REPOSITORY / "README.md")]
    yield "keras-ssm", [command]
    yield "keras-ssm train", [*digits, "--backend", os.environ["KERAS_BACKEND"]]
    yield "keras-ssm plot", [command, "plot", "demo"]
    for guide in sorted((REPOSITORY / "docs" / "guides").glob("*streaming*.py")):
        yield f"guide {guide.stem}", [sys.executable, str(guide)]


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in stages(folder):
            started = time.perf_counter()
            done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True)
            print(f"{name}: exit {done.returncode}, {time.perf_counter() - started:.0f} s")
            if name == "which package" and str(REPOSITORY / "keras_ssm") in done.stdout:
                sys.exit(f"The repository's own package was imported: {done.stdout}")
            if done.returncode:
                sys.exit(f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


if __name__ == "__main__":
    main()
