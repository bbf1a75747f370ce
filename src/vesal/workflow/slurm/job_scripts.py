"""A prediction of many scans as jobs of SLURM: an array of shards and what puts them together, or Ray on several nodes.

Every job may be submitted again: what is done is kept.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from vesal.errors import UsageError
from vesal.files import write_text
from vesal.outputs import results
from vesal.record import Record
from vesal.workflow.prediction.stored_files import is_address, masked
from vesal.workflow.requests.slurm_options import SlurmOptions

PREDICT, COLLECT, SUBMIT = "predict.sbatch", "collect.sbatch", "submit.sh"

#: Port of Ray's head, its usual one.
_PORT = 6379

_ARRAY = """\
set -euo pipefail
export OMP_NUM_THREADS={threads}
{command} --engine local --workers {workers} --threads {threads} \\
    --shard "$SLURM_ARRAY_TASK_ID/{shards}" --resume
"""

_PUT_TOGETHER = """\
set -euo pipefail
# What a shard did not come to is done here.
{command} --engine local --workers {workers} --threads {threads} --resume
"""

_RAY = """\
set -euo pipefail
export RAY_USAGE_STATS_ENABLED=0
# srun does not take it over from the job (since Slurm 22.05).
export SRUN_CPUS_PER_TASK={cpus}
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${{nodes%%$'\n'*}}
srun --nodes=1 --ntasks=1 --nodelist="$head" \\
    ray start --head --node-ip-address="$head" --port={port} --num-cpus={cpus} --num-gpus={gpus} \\
    --include-dashboard=false --block &
sleep 20
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    others=$((SLURM_JOB_NUM_NODES - 1))
    srun --nodes="$others" --ntasks="$others" --exclude="$head" \\
        ray start --address="$head:{port}" --num-cpus={cpus} --num-gpus={gpus} --block &
    sleep 20
fi
{command} --engine ray --ray-address "$head:{port}"{per_worker} --resume
"""

_SUBMIT = """\
#!/usr/bin/env bash
# Sends the array, and behind it what puts its shards together.
set -euo pipefail
cd "$(dirname "$0")"
array=$(sbatch --parsable {predict})
sbatch --dependency="afterany:${{array%%;*}}" {collect}
"""


class SlurmExport(Record):
    """The files of the jobs, and the command that submits them."""

    files: tuple[Path, ...]
    submit: str

    def text(self) -> str:
        """The files, and what to do with them."""
        return "\n".join([*(f"Wrote {path}" for path in self.files), f"Submit it: {self.submit}"])


def export_jobs(model: Path, folder: Path, options: SlurmOptions) -> SlurmExport:
    """Write the scripts into `folder`.

    Args:
        model: a model file or a run folder.
        folder: that is written.
        options: what the jobs shall do, and what they may use.

    Raises:
        UsageError: no scans, no folder for results, or no model is named; an address holds a password; GPUs would lie
            idle; or a file would be replaced that Vesal did not write there.
    """
    if not options.scans or options.results is None:
        raise UsageError("SLURM's jobs need scans and a folder for results; add --scans and --results.")
    if not model.exists():
        raise UsageError(f"{model} is not there; name a model file or a run folder.")
    if options.gpus > 1 and not options.ray_nodes:
        raise UsageError(
            f"A job of the array computes on one GPU, and {options.gpus - 1} would lie idle; add --gpus 1 and more "
            "--shards, or --ray-nodes."
        )
    scans = [_place(text) for text in options.scans]
    device = ["--device", "cuda"] if options.gpus else ["--device", "cpu"]
    words = [
        "vesal",
        "predict",
        str(model.absolute()),
        *scans,
        "-o",
        _place(options.results),
        *device,
    ]
    command = shlex.join(words)
    written = _ray(command, options) if options.ray_nodes else _array(command, options)
    output = results(folder, *written)
    with output:
        for name, text in written.items():
            write_text(folder / name, text)
    paths = tuple(folder / name for name in written)
    script = folder / (SUBMIT if SUBMIT in written else PREDICT)
    submit = f"{'bash' if script.name == SUBMIT else 'sbatch'} {shlex.quote(str(script))}"
    return SlurmExport(files=paths, submit=submit)


def _place(text: str) -> str:
    """Of scans or results, wherever a job begins.

    Raises:
        UsageError: it is an address with a password, which a script would show.
    """
    if not is_address(text):
        return str(Path(text).absolute())
    if (shown := masked(text)) != text:
        raise UsageError(
            f"{shown} holds a password or a token, which the scripts would show; leave it out, and have the library of "
            "the storage find it in its own files or variables."
        )
    return text


def _array(command: str, options: SlurmOptions) -> dict[str, str]:
    # On a GPU one process keeps it busy, and the processors read and write for it.
    workers, threads = (1, options.cpus) if options.gpus else (options.cpus, 1)
    fields = {"command": command, "workers": workers, "threads": threads, "shards": options.shards}
    array = _head(options, "vesal-predict", f"--array=1-{options.shards}") + _ARRAY.format(**fields)
    together = _head(options, "vesal-collect") + _PUT_TOGETHER.format(**fields)
    submit = _SUBMIT.format(predict=PREDICT, collect=COLLECT)
    return {PREDICT: array, COLLECT: together, SUBMIT: submit}


def _ray(command: str, options: SlurmOptions) -> dict[str, str]:
    fields = {
        "command": command,
        "port": _PORT,
        "cpus": options.cpus,
        "gpus": options.gpus,
        "per_worker": " --gpus-per-worker 1" if options.gpus else "",
    }
    nodes = (f"--nodes={options.ray_nodes}", "--ntasks-per-node=1")
    return {PREDICT: _head(options, "vesal-predict", *nodes) + _RAY.format(**fields)}


def _head(options: SlurmOptions, name: str, *more: str) -> str:
    wanted = [
        f"--job-name={name}",
        *(more or ("--ntasks=1",)),
        f"--cpus-per-task={options.cpus}",
        f"--mem={options.memory}",
        f"--time={options.time}",
        *([f"--gpus-per-node={options.gpus}"] if options.gpus else []),
        *([f"--partition={options.partition}"] if options.partition else []),
    ]
    return "".join(["#!/usr/bin/env bash\n", *(f"#SBATCH {one}\n" for one in wanted)])
