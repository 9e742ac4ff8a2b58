# Settings of methods, chosen on validation states: `snakemake --cores all -- tune`. Not part of `make reproduce`: its winners
# are committed in config/methods.
rule trials:
    input:
        data=DATA,
        prior=prior_of("cells"),
        fitted=fit_of_cell,
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
        mem_mb=growing("cells", "mem_mb"),
        runtime=lambda wildcards, attempt: 4 * job_of("cells", wildcards)["resources"]["runtime"] * attempt,
        gpu=gpus("cells"),
    params:
        tier=TIER,
        code=lambda wildcards: job_of("cells", wildcards)["tuning"]["code"],
        settings=lambda wildcards: job_of("cells", wildcards)["tuning"]["settings"],
        fitted=lambda wildcards, input: f"--fitted {input.fitted}" if input.fitted else "",
        folder=output_folder,
        launch=on_device,
    message:
        "Trials of {wildcards.method}/{wildcards.variant} on {wildcards.pde}, prior {wildcards.prior}"
    shell:
        "exec {params.launch} python -m jensenbench tune --tier {params.tier} --pde {wildcards.pde}"
        " --prior {wildcards.prior} --method {wildcards.method} --variant {wildcards.variant} --seed {wildcards.seed}"
        " --data {input.data} --prior-file {input.prior} {params.fitted} --out {params.folder} &> {log}"


rule tune:
    input:
        tuning_files("runs.csv.gz"),
        tuning_files("metrics.csv.gz"),
        tuning_files("timings.csv.gz"),
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
        tier=TIER,
        code=plan["code"]["winners"],
        folders=input_folders,
    message:
        "Winners of all trials, in config/methods"
    shell:
        "exec python -m jensenbench winners --tier {params.tier} --out {output} {params.folders} &> {log}"
