rule report:
    input:
        TABLES,
        training_logs(),
        files_of("jensen", LAYOUT.jensen),
    output:
        PAGES,
        directory(FOLDERS),
    log:
        f"{LOGS}/report.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
        gpu=0,
    params:
        tier=TIER,
        code=plan["code"]["report"],
        configuration=Path(plan["config_file"]).stem,
        results=lambda wildcards, input: str(Path(input[0]).parent),
        out=output_folder,
    message:
        "Tables and figures in {params.out}"
    shell:
        "exec python -m jensenbench report --tier {params.tier} --results {params.results} --out {params.out} &> {log}"
