#!/bin/bash
# Computes JOB in SHARDS shards by GNU parallel, each tried up to five times, and merges them.
# usage: parallel.sh JOB SHARDS [HOSTS], such as host1,host2 that see the same files (default: this machine)
set -euo pipefail
job=$(realpath "$1") shards=$2 hosts=${3:-:}

# --retries runs a shard again that was killed or ended with 75; --joblog says how each of them went
seq "$shards" | parallel --sshlogin "$hosts" --wd "$PWD" --retries 5 --joblog "$(basename "$job").log" \
  xattr-cli run "$job" --shard "{}/$shards" --quiet
xattr-cli merge "$job"
