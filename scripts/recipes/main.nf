// Computes a job in shards and merges them: nextflow run main.nf --job job.yaml --shards 8
// A shard that was killed, or ended with 75, is run again and goes on where it was.
nextflow.enable.dsl = 2

params.job = 'job.yaml'
params.shards = 8

process shard {
    errorStrategy { task.exitStatus in [75, 130, 137, 138, 143] ? 'retry' : 'finish' }
    maxRetries 20

    input:
    tuple path(job, stageAs: 'staged.yaml'), val(original), val(index), val(shards)

    output:
    val index

    script:
    """
    xattr-cli run '${original}' --shard ${index}/${shards} --quiet
    """
}

process merge {
    input:
    val done
    val original

    script:
    """
    xattr-cli merge '${original}'
    """
}

workflow {
    // the job file is named by its own path, as its relative paths begin there; it is staged to be a dependency
    job = file(params.job, checkIfExists: true)
    shards = params.shards as int
    shard(Channel.of(1..shards).map { index -> tuple(job, job.toAbsolutePath().toString(), index, shards) })
    merge(shard.out.collect(), job.toAbsolutePath().toString())
}
