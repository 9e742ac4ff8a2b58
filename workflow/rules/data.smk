rule generate:
    input:
        imported_file,
    output:
        DATA,
    log:
        f"{LOGS}/generate/{{pde}}.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing("pdes", "mem_mb"),
        runtime=growing("pdes", "runtime"),
        gpu=gpus("pdes"),
    params:
        tier=TIER,
        code=entry("pdes", "code"),
        settings=entry("pdes", "settings"),
    message:
        "States of {wildcards.pde}"
    shell:
        "exec python -m jensenbench generate --tier {params.tier} --pde {wildcards.pde} --out {output} &> {log}"


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
        mem_mb=growing("pdes", "mem_mb"),
        runtime=growing("pdes", "runtime"),
        gpu=0,
    params:
        tier=TIER,
        code=plan["code"]["observe"],
        settings=entry("pdes", "observations"),
    message:
        "Observations of {wildcards.pde}"
    shell:
        "exec python -m jensenbench observe --tier {params.tier} --pde {wildcards.pde} --data {input.data}"
        " --out {output} &> {log}"
