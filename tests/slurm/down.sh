#!/usr/bin/env bash
# End what up.sh started, by the process ids it wrote down, and remove its folder.
set -uo pipefail
run=${SLURM_HERE:-/tmp/slurm-here}
[ -d "$run/pids" ] || exit 0
export SLURM_CONF=$run/etc/slurm.conf

timeout 10 squeue -h -o %A 2>/dev/null | xargs -r timeout 10 scancel 2>/dev/null
for name in slurmd-cpu1 slurmd-gpu1 slurmctld munged; do
    read -r pid command 2>/dev/null <"$run/pids/$name" || continue
    for signal in TERM KILL; do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$command" ] || break
        kill -"$signal" "$pid"
        for _ in $(seq 25); do
            [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$command" ] || break
            sleep 0.2
        done
    done
done
for name in slurm gres; do
    if [ "$(readlink "/etc/slurm/$name.conf")" = "$run/etc/$name.conf" ]; then rm "/etc/slurm/$name.conf"; fi
done
rm -rf "$run"
