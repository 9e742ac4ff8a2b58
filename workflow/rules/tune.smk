# Settings of methods, chosen on validation states: `snakemake --cores all -- tune`. Not part of `make reproduce`: its winners
# are committed in config/methods.
rule trials:
    input:
        data=DATA,
        prior=given("tune", "prior"),
        fitted=given("tune", "fitted"),
    output:
        f"{TUNING}/runs.csv.gz",
        f"{TUNING}/metrics.csv.gz",
        f"{TUNING}/timings.csv.gz",
    log:
        f"{LOGS}/tune/{{pde}}/{{prior}}/{{method}}/{{variant}}/{{seed}}.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing("tune", "mem_mb"),
        runtime=growing("tune", "runtime"),
        gpu=gpus("tune"),
    params:
        job=record("tune"),
        code=entry("tune", "code"),
        digest=entry("tune", "digest"),
        fitted=option("fitted"),
        folder=output_folder,
        launch=on_device,
    message:
        "Trials of {wildcards.method}/{wildcards.variant} on {wildcards.pde}, prior {wildcards.prior}"
    shell:
        "exec {params.launch} python -m jensenbench tune --job {params.job} --data {input.data}"
        " --prior-file {input.prior} {params.fitted} --out {params.folder} &> {log}"


rule tune:
    input:
        [files_of("tune", LAYOUT.tuning, name=f"{name}.csv.gz") for name in ("runs", "metrics", "timings")],
    output:
        TRIALS,
    log:
        f"{LOGS}/winners.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
        gpu=0,
    params:
        job=str(LAYOUT.job("winners", "winners")),
        code=plan["code"]["winners"],
        digest=plan["winners"]["digest"],
        folders=input_folders,
    message:
        "Winners of all trials, in config/methods"
    shell:
        "exec python -m jensenbench winners --job {params.job} --out {output} {params.folders} &> {log}"
