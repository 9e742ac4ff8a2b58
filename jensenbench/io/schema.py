"""Schema of the result tables: columns, run statuses and data splits."""

SCHEMA_VERSION = 1
STATUSES = ("ok", "skipped", "diverged", "over_budget", "out_of_memory", "timeout", "failed")
RUN_KEYS = ("pde", "prior", "method", "variant", "task", "seed")
RUN_COLUMNS = (
    "run_id", "schema_version", *RUN_KEYS, "status", "reason", "n_instances", "n_draws", "nfe", "vjp", "jvp",
    "residual_calls", "tuned_trials", "config_digest", "config_json", "data_digest", "prior_digest", "code_digest",
    "environment_digest", "versions", "git_commit", "command",
)  # fmt: skip
METRIC_COLUMNS = ("run_id", "instance", "draw", "sigma", "metric", "unit", "value")
TIMING_COLUMNS = (*RUN_KEYS, "stage", "seconds", "peak_mib", "device", "host", "finished")
TEXT = frozenset(
    {
        "run_id",
        "pde",
        "prior",
        "method",
        "variant",
        "task",
        "status",
        "reason",
        "config_digest",
        "config_json",
        "data_digest",
        "prior_digest",
        "code_digest",
        "environment_digest",
        "versions",
        "git_commit",
        "command",
        "metric",
        "unit",
        "stage",
        "device",
        "host",
        "finished",
        "law",
        "estimator",
        "denoiser",
        "residual_of",
    }
)  # columns of text, in any table
SPLITS = ("train", "validation", "test", "reference")
