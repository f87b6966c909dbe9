"""`xattr-cli slurm`: a job as a Slurm array whose tasks go on after their time limit, and a merge behind it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from ...errors import JobError, RunError
from ..job import job_options, read_job

__all__ = ["slurm", "slurm_script"]

_TIME = re.compile(r"\d+|\d+:\d\d|\d+:\d\d:\d\d|\d+-\d\d?(:\d\d){0,2}", re.ASCII)

_SCRIPT = """\
#!/bin/bash
# Explains {job} in {shards} shards, and merges them; run it where sbatch is: bash THIS_FILE.
# Shards that failed are computed again by: bash THIS_FILE --array=2,5,7 (options are those of sbatch).
set -euo pipefail
mkdir -p {logs}

array=$(sbatch --parsable "$@" <<'END_OF_TASK'
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=1-{shards}%{at_once}
#SBATCH --output={logs}/%x-%A_%a.log
{options}
{body}
finish {command} run {job} --shard "$SLURM_ARRAY_TASK_ID/{shards}"{overrides}
END_OF_TASK
)
array=${{array%%;*}}

merge=$(sbatch --parsable --dependency="afterany:$array" <<'END_OF_MERGE'
#!/bin/bash
#SBATCH --job-name={name}-merge
#SBATCH --output={logs}/%x-%j.log
{merge_options}
{body}
finish {command} merge {job}{overrides}
END_OF_MERGE
)
echo "submitted: array $array of {shards} shards, then merge ${{merge%%;*}}; logs in {logs}"
"""

# a plain line of a script dies of USR1 with the script, and after exec nobody is left to queue it again
_BODY = """\

finish() {  # run a command; after USR1, which comes before the time limit, go on in the next slot
  local asked= child= code
  trap 'asked=USR1; kill -s USR1 "$child" 2>/dev/null' USR1
  trap 'asked=TERM; kill -s TERM "$child" 2>/dev/null' TERM
  "$@" &
  child=$!
  [[ -z $asked ]] || kill -s "$asked" "$child" 2>/dev/null
  while kill -0 "$child" 2>/dev/null; do wait "$child"; done
  wait "$child"
  code=$?
  if [[ $asked != TERM && ( $code -eq 75 || ( $asked == USR1 && $code -ne 0 ) ) ]]; then
    scontrol requeue "$SLURM_JOB_ID" && exit 0
  fi
  exit "$code"
}
"""


@click.command()
@job_options
@click.option(
    "--shards", type=click.IntRange(1), required=True, help="Tasks of the array, each a share of the parts."
)
@click.option("--time", required=True, help="Time limit of a task, such as 4:00:00; it goes on in another slot.")
@click.option("--gpus", type=click.IntRange(0), default=0, help="GPUs of a task.")
@click.option("--at-once", type=click.IntRange(1), default=32, show_default=True, help="Tasks that run at once.")
@click.option(
    "--warn", type=click.IntRange(1), default=120, show_default=True, help="Seconds from USR1 to the limit."
)
@click.option("--logs", default="logs", show_default=True, help="Folder for what the tasks print.")
@click.option(
    "--sbatch", "more", multiple=True, help="A further option of sbatch, such as --mem=16G; may be repeated."
)
@click.option("--submit", is_flag=True, help="Submit it, instead of printing it.")
def slurm(
    job: str,
    overrides: tuple[str, ...],
    shards: int,
    time: str,
    gpus: int,
    at_once: int,
    warn: int,
    logs: str,
    more: tuple[str, ...],
    submit: bool,
) -> None:
    """Print a script that computes JOB as a Slurm array of SHARDS tasks and then merges, or submit it.

    A task that nears its time limit is sent USR1, keeps its finished parts, and is queued again, as often as it
    takes. The merge begins when all tasks have ended, however they did, and names the shards that are missing.

    \b
    Example:
      xattr-cli slurm job.yaml --shards 64 --time 4:00:00 --gpus 1 > job.sh && bash job.sh
      xattr-cli slurm job.yaml --shards 64 --time 4:00:00 --sbatch=--partition=gpu --submit
    """
    if job == "-":
        raise JobError("slurm: the tasks read the job file later, so it cannot come from standard input; name it.")
    read_job(job, overrides)  # a wrong key costs seconds, not a place in the queue
    script = slurm_script(
        Path(job), overrides, shards=shards, time=time, gpus=gpus, at_once=at_once, warn=warn, logs=logs, more=more
    )
    if not submit:
        click.echo(script, nl=False)
        return
    if shutil.which("sbatch") is None:
        raise JobError("slurm --submit: there is no sbatch here; print the script, and run it on a login node.")
    done = subprocess.run(["bash", "-s"], input=script, text=True, capture_output=True)
    if done.returncode:
        raise RunError(f"sbatch refused the job: {done.stderr.strip() or done.stdout.strip()}")
    click.echo(done.stdout, nl=False)


def slurm_script(
    job: Path,
    overrides: tuple[str, ...],
    *,
    shards: int,
    time: str,
    gpus: int = 0,
    at_once: int = 32,
    warn: int = 120,
    logs: str = "logs",
    more: tuple[str, ...] = (),
) -> str:
    """The text of a script that submits an array and its merge.

    Arguments:
        job: the job file.
        overrides: of its keys.
        shards: tasks of the array.
        time: limit of each of them, as sbatch takes it.
        gpus: of each of them.
        at_once: how many run at once.
        warn: seconds from the signal to the limit.
        logs: folder for what they print.
        more: further options of sbatch, for the tasks only.

    Raises:
        JobError: the time or an option is none for sbatch.
    """
    if not _TIME.fullmatch(time):
        raise JobError(f"--time {time!r}: must look like 4:00:00, or 2-00:00:00 for two days.")
    wrong = next((option for option in more if not re.fullmatch(r"--?[a-zA-Z][^\r\n]*", option)), None)
    if wrong is not None:
        raise JobError(f"--sbatch {wrong!r}: must be one option of sbatch, such as --sbatch=--mem=16G.")
    if "\n" in logs or "\n" in str(job):
        raise JobError(f"slurm: a path with a line break cannot stand in a script: {logs!r}, {str(job)!r}.")
    common = [f"--time={time}", f"--signal=B:USR1@{warn}", "--requeue", "--open-mode=append"]
    common.append(f"--chdir={shlex.quote(str(Path.cwd()))}")
    own = [*common, *([f"--gpus={gpus}"] if gpus else []), *more]
    return _SCRIPT.format(
        job=shlex.quote(str(job.absolute())),
        shards=shards,
        at_once=min(at_once, shards),
        logs=shlex.quote(logs),
        name=re.sub(r"[^\w.-]", "_", job.stem),
        options="\n".join(f"#SBATCH {option}" for option in own),
        merge_options="\n".join(f"#SBATCH {option}" for option in common),
        body=_BODY,
        command=f"{shlex.quote(sys.executable)} -m xattr_cli",
        overrides="".join(f" --set {shlex.quote(override)}" for override in overrides),
    )
