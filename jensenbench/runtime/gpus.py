"""GPU allocation for local jobs by lock files: ``python -m jensenbench.runtime.gpus COUNT COMMAND ...``.

One lock file per device is held until the command ends. A choice made by a scheduler or a user is kept. It does not
import torch.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
import time


def main(wanted: int, command: list[str]) -> None:
    """Wait for ``wanted`` free devices, name them in CUDA_VISIBLE_DEVICES and become the command.

    The workflow starts no more jobs than there are devices for; a stage that has too few devices says so itself.
    """
    chosen = {"SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES"} & set(os.environ)
    count = 0 if chosen else count_gpus()
    held = [wait_for_device(count) for _ in range(min(wanted, count))]
    if held:
        for _, lock in held:
            os.set_inheritable(lock, True)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(str(device) for device, _ in held)
    os.execvp(command[0], command)


def count_gpus() -> int:
    """Number of GPUs that the driver lists, 0 without a driver."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def wait_for_device(count: int, folder: str = tempfile.gettempdir()) -> tuple[int, int]:
    """Number of a free device and the descriptor of its lock, which is now held; waits while all are taken."""
    while True:
        for device in range(count):
            lock = os.open(os.path.join(folder, f"jensenbench-gpu-{device}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return device, lock
            except BlockingIOError:
                os.close(lock)
        time.sleep(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
