#!/bin/bash
# Goes on with JOB for at most the given time, every night, until it is done; for cron.
# usage in a crontab: 0 22 * * * /path/to/nightly.sh /path/to/job.yaml 7h
set -uo pipefail
job=$1 time=${2:-7h}

# flock: a night that is not over yet is not joined by the next one; timeout sends TERM: exit code 75, all parts kept
flock --nonblock --conflict-exit-code 0 "$job.lock" timeout "$time" xattr-cli run "$job" --quiet --strict
code=$?
[[ $code -eq 124 || $code -eq 75 ]] && exit 0 # to be continued tomorrow
exit "$code"
