# What methods that train learn from and learn. Shards of pairs and training state are undeclared: Snakemake deletes
# the declared outputs of a job that fails.
rule pairs:
    input:
        data=DATA,
        prior=given("pairs", "prior"),
    output:
        PAIRS,
    log:
        f"{LOGS}/pairs/{{pde}}/{{prior}}/{{digest}}/{{seed}}.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing("pairs", "mem_mb"),
        runtime=growing("pairs", "runtime"),
        gpu=gpus("pairs"),
    params:
        job=record("pairs"),
        code=entry("pairs", "code"),
        digest=entry("pairs", "digest"),
        launch=on_device,
    message:
        "Teacher pairs of {wildcards.pde}, prior {wildcards.prior}, seed {wildcards.seed}"
    shell:
        "exec {params.launch} python -m jensenbench pairs --job {params.job} --data {input.data}"
        " --prior-file {input.prior} --out {output} &> {log}"


rule fit:
    input:
        data=DATA,
        prior=given("fit", "prior"),
        pairs=given("fit", "pairs"),
    output:
        FIT,
    log:
        f"{LOGS}/fit/{{pde}}/{{prior}}/{{method}}/{{digest}}/{{seed}}.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing("fit", "mem_mb"),
        runtime=growing("fit", "runtime"),
        gpu=gpus("fit"),
        last=last_attempt,
    params:
        job=record("fit"),
        code=entry("fit", "code"),
        digest=entry("fit", "digest"),
        pairs=option("pairs"),
        state=FITTING,
        launch=on_device,
    message:
        "Fit of {wildcards.method} on {wildcards.pde}, prior {wildcards.prior}, seed {wildcards.seed}"
    shell:
        "exec {params.launch} python -m jensenbench fit --job {params.job} --data {input.data}"
        " --prior-file {input.prior} {params.pairs} --out {output} --state-dir {params.state}"
        " {resources.last} &> {log}"
