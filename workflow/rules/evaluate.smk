rule evaluate:
    input:
        data=DATA,
        observations=OBSERVATIONS,
        prior=given("evaluate", "prior"),
        samples=given("evaluate", "samples"),
        references=references,
    output:
        f"{EVALUATION}/runs.csv.gz",
        f"{EVALUATION}/metrics.csv.gz",
        f"{EVALUATION}/timings.csv.gz",
    log:
        f"{LOGS}/evaluate/{{pde}}/{{prior}}/{{seed}}.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing("evaluate", "mem_mb"),
        runtime=growing("evaluate", "runtime"),
        gpu=0,
    params:
        code=entry("evaluate", "code"),
        folder=output_folder,
    message:
        "Metrics of all methods on {wildcards.pde}, prior {wildcards.prior}, seed {wildcards.seed}"
    shell:
        "exec python -m jensenbench evaluate --data {input.data} --observations {input.observations}"
        " --prior-file {input.prior} --seed {wildcards.seed} --out {params.folder} {input.samples} &> {log}"


rule collect:
    input:
        [files_of("evaluate", LAYOUT.evaluation, name=f"{name}.csv.gz") for name in ("runs", "metrics", "timings")],
    output:
        TABLES,
    log:
        f"{LOGS}/collect.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
        gpu=0,
    params:
        code=plan["code"]["collect"],
        folders=input_folders,
        out=output_folder,
    message:
        "Tables of all runs, metrics and timings"
    shell:
        "exec python -m jensenbench collect --out {params.out} {params.folders} &> {log}"
