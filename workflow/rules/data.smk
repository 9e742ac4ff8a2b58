rule generate:
    input:
        given("generate", "source"),
    output:
        DATA,
    log:
        f"{LOGS}/generate/{{pde}}.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing("generate", "mem_mb"),
        runtime=growing("generate", "runtime"),
        gpu=0,
    params:
        job=record("generate"),
        code=entry("generate", "code"),
        digest=entry("generate", "digest"),
        content=lambda wildcards: job_of("generate", wildcards).get("content", ""),
    message:
        "States of {wildcards.pde}"
    shell:
        "exec python -m jensenbench generate --job {params.job} --out {output} &> {log}"


rule observe:
    input:
        data=DATA,
    output:
        OBSERVATIONS,
    log:
        f"{LOGS}/observe/{{pde}}.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing("generate", "mem_mb"),
        runtime=growing("generate", "runtime"),
        gpu=0,
    params:
        job=record("observe"),
        code=entry("observe", "code"),
        digest=entry("observe", "digest"),
    message:
        "Observations of {wildcards.pde}"
    shell:
        "exec python -m jensenbench observe --job {params.job} --data {input.data}" " --out {output} &> {log}"
