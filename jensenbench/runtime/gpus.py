"""GPU allocation for local jobs by lock files: ``python -m jensenbench.runtime.gpus COUNT COMMAND ...``.

One lock file per device is held until the command ends. Of the devices that a user or an allocation has chosen in
CUDA_VISIBLE_DEVICES, each job gets its own; inside a Slurm job the scheduler has done so. It does not import torch.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence


def main(wanted: int, command: list[str]) -> None:
    """Wait for ``wanted`` free devices, name them in CUDA_VISIBLE_DEVICES and become the command.

    The workflow starts no more jobs than there are devices for; a stage that has too few devices says so itself.
    """
    devices = visible_devices()
    allotted = "SLURM_JOB_ID" in os.environ and wanted >= len(devices)
    held = [] if allotted else [wait_for_device(devices) for _ in range(min(wanted, len(devices)))]
    if held:
        for _, lock in held:
            os.set_inheritable(lock, True)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(device for device, _ in held)
    os.execvp(command[0], command)


def visible_devices() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; all of the driver's where it is unset."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [str(number) for number in range(count_installed())]
    return [name.strip() for name in chosen.split(",") if name.strip()]


def count_gpus() -> int:
    """Number of GPUs that this process may use."""
    return len(visible_devices())


def count_installed() -> int:
    """Number of GPUs that the driver lists, 0 without a driver."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def wait_for_device(devices: Sequence[str], folder: str = tempfile.gettempdir()) -> tuple[str, int]:
    """Name of a free device and the descriptor of its lock, which is now held; waits while all are taken."""
    while True:
        for device in devices:
            name = f"jensenbench-gpu-{device.replace(os.sep, '-')}.lock"
            lock = open_shared(os.path.join(folder, name))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return device, lock
            except BlockingIOError:
                os.close(lock)
        time.sleep(1)


def open_shared(path: str) -> int:
    """Descriptor of a lock file; one that another user made may be locked although it may not be written."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
