# One job draws the samples of one method's variant on one prior and seed, for all tasks.
rule sample:
    input:
        data=DATA,
        observations=OBSERVATIONS,
        prior=given("sample", "prior"),
        fitted=given("sample", "fitted"),
    output:
        SAMPLES,
    log:
        f"{LOGS}/sample/{{pde}}/{{prior}}/{{method}}/{{variant}}/{{seed}}.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing("sample", "mem_mb"),
        runtime=growing("sample", "runtime"),
        gpu=gpus("sample"),
        last=last_attempt,
    params:
        job=record("sample"),
        code=entry("sample", "code"),
        digest=entry("sample", "digest"),
        fitted=option("fitted"),
        launch=on_device,
    message:
        "Samples of {wildcards.method}/{wildcards.variant} on {wildcards.pde}, prior {wildcards.prior}, seed {wildcards.seed}"
    shell:
        "exec {params.launch} python -m jensenbench sample --job {params.job} --data {input.data}"
        " --observations {input.observations} --prior-file {input.prior} {params.fitted}"
        " --out {output} {resources.last} &> {log}"
