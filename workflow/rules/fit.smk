# What methods that train learn from and learn. Shards of pairs and training state are undeclared: Snakemake deletes
# the declared outputs of a job that fails.
rule pairs:
    input:
        data=DATA,
        prior=prior_of("pairs"),
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
        tier=TIER,
        code=entry("pairs", "code"),
        settings=entry("pairs", "settings"),
        launch=on_device,
    message:
        "Teacher pairs of {wildcards.pde}, prior {wildcards.prior}, seed {wildcards.seed}"
    shell:
        "exec {params.launch} python -m jensenbench pairs --tier {params.tier} --pde {wildcards.pde}"
        " --prior {wildcards.prior} --digest {wildcards.digest} --seed {wildcards.seed} --data {input.data}"
        " --prior-file {input.prior} --out {output} &> {log}"


rule fit:
    input:
        data=DATA,
        prior=prior_of("fits"),
        pairs=pairs_of_fit,
    output:
        FIT,
    log:
        f"{LOGS}/fit/{{pde}}/{{prior}}/{{method}}/{{digest}}/{{seed}}.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing("fits", "mem_mb"),
        runtime=growing("fits", "runtime"),
        gpu=gpus("fits"),
        last=last_attempt,
    params:
        tier=TIER,
        code=entry("fits", "code"),
        settings=entry("fits", "settings"),
        pairs=lambda wildcards, input: f"--pairs {input.pairs}" if input.pairs else "",
        state=FITTING,
        launch=on_device,
    message:
        "Fit of {wildcards.method} on {wildcards.pde}, prior {wildcards.prior}, seed {wildcards.seed}"
    shell:
        "exec {params.launch} python -m jensenbench fit --tier {params.tier} --pde {wildcards.pde}"
        " --prior {wildcards.prior} --method {wildcards.method} --digest {wildcards.digest} --seed {wildcards.seed}"
        " --data {input.data} --prior-file {input.prior} {params.pairs} --out {output} --state-dir {params.state}"
        " {resources.last} &> {log}"
