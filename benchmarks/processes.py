"""Processes that train together, on this machine."""

import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).resolve().parents[1]


def start(
    backend: str, commands: Sequence[Sequence[str]], devices: int = 1, **options: object
) -> list[subprocess.Popen]:
    """Start a Python command in each process, told of the others as its framework wants it.

    Args:
        backend: Keras backend.
        commands: arguments of the interpreter, for each process.
        devices: of each process; on TensorFlow a process has to ask for them.
        **options: of `subprocess.Popen`.

    Returns:
        The processes, in their order.
    """
    ports = _free_ports(len(commands))
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env=environment(backend, rank, ports, devices),
            text=True,
            **options,
        )
        for rank, command in enumerate(commands)
    ]


def environment(backend: str, rank: int, ports: Sequence[int], devices: int = 1) -> dict[str, str]:
    """The variables of one process, of as many as there are ports."""
    world = str(len(ports))
    flags = os.environ.get("XLA_FLAGS", "")
    found = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "1",
    }
    if backend == "jax":
        found["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={devices}"
    if world == "1" and backend != "torch":
        return found
    if backend == "jax":
        addresses = {"JOB_ADDRESSES": f"127.0.0.1:{ports[0]}", "NUM_PROCESSES": world}
        numbered = {**addresses, "PROCESS_ID": str(rank)}
        return found | {f"KERAS_DISTRIBUTION_{k}": v for k, v in numbered.items()}
    if backend == "tensorflow":
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        task = {"type": "worker", "index": rank}
        return found | {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(ports[0]), "LOCAL_RANK": str(rank)}
    return found | address | {"RANK": str(rank), "WORLD_SIZE": world}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
