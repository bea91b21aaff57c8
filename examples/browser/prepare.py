"""Put a trained model next to the page, and serve it.

The page is static, and needs nothing from outside once its folder is complete: the model and its
description from a run of `keras-ssm train digits`, and onnxruntime-web from npm. `make browser`
does all of it:

    python examples/browser/prepare.py runs/streaming --serve
"""

import argparse
import functools
import http.server
import json
import pathlib
import subprocess

import keras_ssm
from keras_ssm.cli import exporting

FOLDER = pathlib.Path(__file__).parent
PACKAGE = FOLDER / "node_modules" / "onnxruntime-web" / "package.json"


def prepare(run: str, folder: pathlib.Path = FOLDER) -> keras_ssm.export.Artefact:
    """Export the model of a run as one step into the folder of the page, as `model.onnx`."""
    artefact = exporting.export(run, "onnx", folder / "model.onnx", step=True)
    # A browser has no way to read what a file says about itself.
    metadata = keras_ssm.export.load(artefact.path).metadata
    (folder / "model.json").write_text(json.dumps(metadata, indent=1), "utf-8")
    return artefact


def install() -> None:
    """Install onnxruntime-web where it is missing."""
    if not PACKAGE.exists():
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev"]
        subprocess.run(command, cwd=FOLDER, check=True)


def main(run: str, serve: bool, port: int) -> None:
    """Prepare the page, and serve it until interrupted."""
    artefact = prepare(run)
    install()
    print(f"{artefact.path}: {artefact.size} bytes, differs by {artefact.error:.1e}")
    if serve:
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=FOLDER)
        with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
            print(f"http://127.0.0.1:{server.server_port}/ (Ctrl+C ends it)", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run folder, or .keras file, of a unidirectional model")
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--port", type=int, default=8000)
    main(**vars(parser.parse_args()))
