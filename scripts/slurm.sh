#!/usr/bin/env bash
# A Slurm of one machine, for trying hydra/launcher=batched_slurm and for tests/e2e/test_slurm.py. Needs root, and
# Debian's packages: apt-get install slurm-wlm munge. It listens on this machine's own name; nothing is left after stop.
#
#   scripts/slurm.sh start      starts it, and prints the line that makes sbatch find it
#   scripts/slurm.sh stop       stops it, and removes its folder
set -euo pipefail

PLACE=${NST_SLURM:-/tmp/nst-slurm}
export SLURM_CONF=$PLACE/slurm.conf

configure() {
  mkdir -p "$PLACE"/{state,spool,log,munge}
  chmod 700 "$PLACE/munge"
  head -c 128 /dev/urandom > "$PLACE/munge/key"
  chmod 400 "$PLACE/munge/key"
  local host cpus memory
  host=$(hostname -s)
  cpus=$(nproc)
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  cat > "$SLURM_CONF" <<CONF
ClusterName=nst
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$PLACE/munge/socket
StateSaveLocation=$PLACE/state
SlurmdSpoolDir=$PLACE/spool
SlurmctldPidFile=$PLACE/slurmctld.pid
SlurmdPidFile=$PLACE/slurmd.pid
SlurmctldLogFile=$PLACE/log/slurmctld
SlurmdLogFile=$PLACE/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
MinJobAge=60
SchedulerParameters=sched_interval=1,bf_interval=1
KillWait=10
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=long Nodes=$host Default=YES MaxTime=UNLIMITED State=UP
PartitionName=short Nodes=$host MaxTime=10 State=UP
CONF
}

start() {
  for program in munged slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null || { echo "$program is missing: apt-get install slurm-wlm munge" >&2; exit 1; }
  done
  configure
  munged --force --key-file "$PLACE/munge/key" --socket "$PLACE/munge/socket" --pid-file "$PLACE/munge/pid" \
    --log-file "$PLACE/log/munged" --seed-file "$PLACE/munge/seed" >/dev/null 2>&1
  slurmctld -c
  slurmd
  for _ in $(seq 100); do
    if [ "$(sinfo --noheader --partition long --format %t 2>/dev/null)" = idle ]; then
      echo "export SLURM_CONF=$SLURM_CONF"
      return
    fi
    sleep 0.2
  done
  tail -n 5 "$PLACE"/log/* >&2
  exit 1
}

stop() {
  [ -d "$PLACE" ] || return 0
  scancel --user root 2>/dev/null || true
  for pid in "$PLACE"/slurmd.pid "$PLACE"/slurmctld.pid "$PLACE"/munge/pid; do
    [ ! -f "$pid" ] || kill "$(cat "$pid")" 2>/dev/null || true
  done
  sleep 1
  rm -rf "$PLACE"
}

case ${1:-} in
  start) stop; start ;;
  stop) stop ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
