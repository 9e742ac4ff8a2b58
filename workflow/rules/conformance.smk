# Public checks of every plug-in and prior of the tier, on request: `snakemake -- conformance`. A failed check is a line of
# the page, not a failed job.
rule check:
    output:
        str(LAYOUT.check("{plugin}")),
    log:
        f"{LOGS}/check/{{plugin}}.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
        gpu=0,
    params:
        code=lambda wildcards: plan["checks"][wildcards.plugin]["code"],
        kind=lambda wildcards: plan["checks"][wildcards.plugin]["kind"],
        name=lambda wildcards: plan["checks"][wildcards.plugin]["name"],
    message:
        "Conformance of {wildcards.plugin}"
    shell:
        "exec python -m jensenbench check {params.kind} {params.name} --out {output} &> {log}"


rule check_prior:
    input:
        data=DATA,
        prior=PRIOR,
    output:
        str(LAYOUT.check("{pde}/{prior}/{seed}")),
    log:
        f"{LOGS}/check/{{pde}}/{{prior}}/{{seed}}.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
        gpu=0,
    params:
        code=plan["code"]["check_prior"],
    message:
        "Conformance of prior {wildcards.prior} of {wildcards.pde}, seed {wildcards.seed}"
    shell:
        "exec python -m jensenbench check prior {input.prior} --data {input.data} --out {output} &> {log}"


rule conformance:
    input:
        CHECKED,
    output:
        CONFORMANCE,
    log:
        f"{LOGS}/conformance.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
        gpu=0,
    params:
        code=plan["code"]["conformance"],
    message:
        "Conformance page {output}"
    shell:
        "exec python -m jensenbench conformance --out {output} {input} &> {log}"
