# Where each stage writes; the patterns are those of jensenbench.io.layout.Layout.
RESULTS = plan["results"]
REPORTS = plan["reports"]
LOGS = f"logs/{plan['tier']}"
LAYOUT = Layout(Path(RESULTS))
TIER = str(LAYOUT.config)
DATA = str(LAYOUT.data("{pde}"))
OBSERVATIONS = str(LAYOUT.observations("{pde}"))
PRIOR = str(LAYOUT.prior("{pde}", "{prior}", "{seed}"))
TRAINING_LOG = str(Path(PRIOR).with_suffix(".log.csv"))
TRAINING = str(LAYOUT.training("{pde}", "{prior}", "{seed}"))
PAIRS = str(LAYOUT.pairs("{pde}", "{prior}", "{digest}", "{seed}"))
FIT = str(LAYOUT.fit("{pde}", "{prior}", "{method}", "{digest}", "{seed}"))
FITTING = str(LAYOUT.fitting("{pde}", "{prior}", "{method}", "{digest}", "{seed}"))
SAMPLES = str(LAYOUT.samples("{pde}", "{prior}", "{method}", "{variant}", "{seed}"))
TUNING = str(LAYOUT.tuning("{pde}", "{prior}", "{method}", "{variant}", "{seed}"))
TRIALS = f"{RESULTS}/tuning/trials.csv"
CHECKED = [str(LAYOUT.check(name)) for name in (*plan["checks"], *plan["jobs"]["train"])]
JENSEN = str(LAYOUT.jensen("{pde}", "{prior}", "{seed}"))
JENSEN_VISITS, JENSEN_LIKELIHOOD = (JENSEN.replace(".csv", f".{name}.csv") for name in ("visits", "likelihood"))
JENSEN_PAGE, JENSEN_FIGURES = f"{REPORTS}/jensen.md", f"{REPORTS}/jensen"
JENSEN_REPORT = [JENSEN_PAGE, JENSEN_FIGURES] if plan["jobs"]["jensen"] else []
EVALUATION = str(LAYOUT.evaluation("{pde}", "{prior}", "{seed}"))
TABLES = [f"{RESULTS}/{name}.csv.gz" for name in ("runs", "metrics", "timings")]
PAGES = [f"{REPORTS}/{name}" for name in ("tables.md", "questions.md", "priors.md", "cost.md", "times.md")]
CONFORMANCE = f"{REPORTS}/conformance.md"
FOLDERS = [f"{REPORTS}/{name}" for name in ("tables", "figures")]


wildcard_constraints:
    pde="[^/]+",
    prior="[^/]+",
    method="[^/]+",
    variant="[^/]+",
    digest="[0-9a-f]+",
    seed="[0-9]+",
    plugin="[^/]+",


limit_gpus()
shell.prefix(environment())
