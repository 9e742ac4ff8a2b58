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
    threads: entry("priors", "cores")
    resources:
        mem_mb=growing("priors", "mem_mb"),
        runtime=growing("priors", "runtime"),
        gpu=gpus("priors"),
    params:
        tier=TIER,
        code=entry("priors", "code"),
        settings=entry("priors", "settings"),
        state=TRAINING,
        launch=on_device,
    message:
        "Prior {wildcards.prior} of {wildcards.pde}, seed {wildcards.seed}"
    shell:
        "exec {params.launch} python -m jensenbench train --tier {params.tier} --pde {wildcards.pde}"
        " --prior {wildcards.prior} --seed {wildcards.seed} --data {input.data} --out {output.prior}"
        " --state-dir {params.state} &> {log}"
