# Training state lies in an undeclared folder: Snakemake deletes the declared outputs of a job that fails.
rule train:
    input:
        data=DATA,
    output:
        prior=PRIOR,
        table=TRAINING_LOG,
    log:
        f"{LOGS}/train/{{pde}}/{{prior}}/{{seed}}.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    threads: entry("train", "cores")
    resources:
        mem_mb=growing("train", "mem_mb"),
        runtime=growing("train", "runtime"),
        gpu=gpus("train"),
    params:
        job=record("train"),
        code=entry("train", "code"),
        digest=entry("train", "digest"),
        state=TRAINING,
        launch=on_device,
    message:
        "Prior {wildcards.prior} of {wildcards.pde}, seed {wildcards.seed}"
    shell:
        "exec {params.launch} python -m jensenbench train --job {params.job} --data {input.data}"
        " --out {output.prior} --state-dir {params.state} &> {log}"
