# One job draws the samples of one method's variant on one prior and seed, for all tasks.
rule sample:
    input:
        data=DATA,
        observations=OBSERVATIONS,
        prior=prior_of("cells"),
        fitted=fit_of_cell,
    output:
        SAMPLES,
    log:
        f"{LOGS}/sample/{{pde}}/{{prior}}/{{method}}/{{variant}}/{{seed}}.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing("cells", "mem_mb"),
        runtime=growing("cells", "runtime"),
        gpu=gpus("cells"),
        last=last_attempt,
    params:
        tier=TIER,
        code=entry("cells", "code"),
        settings=entry("cells", "settings"),
        tasks=entry("cells", "tasks"),
        fitted=lambda wildcards, input: f"--fitted {input.fitted}" if input.fitted else "",
        launch=on_device,
    message:
        "Samples of {wildcards.method}/{wildcards.variant} on {wildcards.pde}, prior {wildcards.prior}, seed {wildcards.seed}"
    shell:
        "exec {params.launch} python -m jensenbench sample --tier {params.tier} --pde {wildcards.pde}"
        " --prior {wildcards.prior} --method {wildcards.method} --variant {wildcards.variant} --seed {wildcards.seed}"
        " --data {input.data} --observations {input.observations} --prior-file {input.prior} {params.fitted}"
        " --out {output} {resources.last} &> {log}"
