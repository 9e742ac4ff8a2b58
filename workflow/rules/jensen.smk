# The Jensen gap of every prior of the tier, and its page.
rule jensen:
    input:
        data=DATA,
        prior=PRIOR,
        fits=given("jensen", "fits"),
    output:
        curves=JENSEN,
        visits=JENSEN_VISITS,
        likelihood=JENSEN_LIKELIHOOD,
    log:
        f"{LOGS}/jensen/{{pde}}/{{prior}}/{{seed}}.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing("jensen", "mem_mb"),
        runtime=growing("jensen", "runtime"),
        gpu=0,
    params:
        job=record("jensen"),
        code=entry("jensen", "code"),
        digest=entry("jensen", "digest"),
        fits=option("fits"),
    message:
        "Jensen gap of {wildcards.pde}, prior {wildcards.prior}, seed {wildcards.seed}"
    shell:
        "exec python -m jensenbench jensen --job {params.job} --data {input.data} --prior-file {input.prior}"
        " --out {output.curves} {params.fits} &> {log}"


rule jensen_page:
    input:
        tables=TABLES,
        curves=files_of("jensen", LAYOUT.jensen),
    output:
        JENSEN_PAGE,
        directory(JENSEN_FIGURES),
    log:
        f"{LOGS}/jensen_page.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
        gpu=0,
    params:
        tier=TIER,
        code=plan["code"]["jensen_page"],
        results=lambda wildcards, input: str(Path(input.tables[0]).parent),
        out=output_folder,
    message:
        "Page of the Jensen gap {output[0]}"
    shell:
        "exec python -m jensenbench jensen-page --tier {params.tier} --results {params.results} --out {params.out}"
        " {input.curves} &> {log}"
