"""Hand out this machine's GPUs to local jobs, without importing torch: ``python -m jensenbench.gpus COMMAND ...``.

A lock file a device, held until the command ends. The choice of a scheduler or a user is kept.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
import time


def main(command: list[str]) -> None:
    """Wait for a free device, name it in CUDA_VISIBLE_DEVICES and become the command."""
    chosen = {"SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES"} & set(os.environ)
    count = 0 if chosen else count_gpus()
    if count:
        device, lock = wait_for_device(count)
        os.set_inheritable(lock, True)
        os.environ["CUDA_VISIBLE_DEVICES"] = str(device)
    os.execvp(command[0], command)


def count_gpus() -> int:
    """Number of GPUs that the driver lists, 0 without a driver."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def wait_for_device(count: int, folder: str = tempfile.gettempdir()) -> tuple[int, int]:
    """Number of a free device and the descriptor of its held lock; asks again every second while all are taken."""
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
    main(sys.argv[1:])
