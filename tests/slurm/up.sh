#!/usr/bin/env bash
# A real Slurm on this machine, on loopback: one CPU node and one node with two make-believe GPUs (Debian, as root).
# Installs slurm-wlm and munge if they are missing. Everything else lies in $SLURM_HERE (default: /tmp/slurm-here).
# Links /etc/slurm/{slurm,gres}.conf, and refuses to where there is another Slurm. A second call changes nothing; down.sh ends what this one started.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
run=${SLURM_HERE:-/tmp/slurm-here}

say() { echo "slurm up: $*" >&2; }

if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
    say "installing slurm-wlm and munge"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
fi

started() { # does the process of a pid file still run the same command?
    local pid name
    read -r pid name 2>/dev/null <"$run/pids/$1" && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$name" ]
}

start() { # name, command: a daemon in the foreground of its own session
    local name=$1
    shift
    started "$name" && return
    setsid nohup "$@" >>"$run/log/$name.out" 2>&1 </dev/null &
    echo "$! $(basename "$1")" >"$run/pids/$name"
}

await() { # description, command: until it succeeds, for 30 seconds at most
    local what=$1
    shift
    for _ in $(seq 150); do
        timeout 5 "$@" >/dev/null 2>&1 && return
        sleep 0.2
    done
    say "$what did not come up; see $run/log"
    exit 1
}

ready() { sinfo -h -N -o %T | grep -cE '^(idle|mixed|allocated|completing)$' | grep -qx 2; }
export -f ready

mkdir -p "$run"/{pids,log,munge,state,spool/cpu1,spool/gpu1,etc}
chmod 755 "$run" "$run/munge"
for i in 0 1; do [ -e "$run/nvidia$i" ] || mknod "$run/nvidia$i" c 1 3 2>/dev/null || : >"$run/nvidia$i"; done
for name in slurm gres; do
    sed -e "s|@RUN@|$run|g" -e "s|@HOST@|$(hostname -s)|g" "$here/$name.conf.in" >"$run/etc/$name.conf"
done
# jobs start without this shell's variables: they look for the configuration where Slurm was built to
mkdir -p /etc/slurm
for name in slurm gres; do
    if [ -e "/etc/slurm/$name.conf" ] && [ "$(readlink "/etc/slurm/$name.conf")" != "$run/etc/$name.conf" ]; then
        say "this machine has a Slurm of its own (/etc/slurm/$name.conf): nothing was started"
        exit 1
    fi
    ln -sfn "$run/etc/$name.conf" "/etc/slurm/$name.conf"
done
export SLURM_CONF=/etc/slurm/slurm.conf

if [ ! -s "$run/munge/key" ]; then
    (umask 077 && head -c 1024 /dev/urandom >"$run/munge/key")
fi
start munged munged --foreground --force --key-file="$run/munge/key" --socket="$run/munge/socket" \
    --pid-file="$run/munge/pid" --log-file="$run/log/munged.log" --seed-file="$run/munge/seed"
await munged munge -n --socket="$run/munge/socket"
start slurmctld slurmctld -D -f "$SLURM_CONF"
await slurmctld scontrol ping
for node in cpu1 gpu1; do start "slurmd-$node" slurmd -D -N "$node" -f "$SLURM_CONF"; done
await "the nodes" bash -c ready
say "ready"
