# snakemake --cores all                         the tier config/default.yaml on this machine
# snakemake --cores all --profile slurm         the same on a Slurm cluster
# snakemake --cores all --config tier=smoke     another tier of config/
# snakemake --cores all --configfile FILE       a whole configuration of your own
# snakemake --cores all -- conformance          the page of the public checks of a tier's plug-ins and priors
from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/common.smk"


if not workflow.overwrite_configfiles:

    configfile: tier_file(config)


plan = make_plan(config)


include: "workflow/rules/paths.smk"


rule all:
    input:
        TABLES,  # a clone holds the published pages, but not what they come from
        PAGES,
        FOLDERS,
        JENSEN_REPORT,


include: "workflow/rules/data.smk"
include: "workflow/rules/priors.smk"
include: "workflow/rules/fit.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/tune.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/conformance.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/jensen.smk"
