# Figures and the report: drawn from the small derived tables alone.

DERIVED = [
    *expand(
        f"{ROOT}/tables/{{name}}.parquet",
        name=[
            "runs",
            "losses",
            "curves",
            "scores",
            "thresholds",
            "calibration",
            "reliability",
            "calibration_sizes",
            "reliability_curves",
            "risk_curves",
            "calibration_deltas",
            "seeds",
            "breakdown",
        ],
    ),
    *JOBS.law_outputs(ROOT),
    f"{ROOT}/emergence.json",
    f"{ROOT}/calibration.json",
    f"{ROOT}/study.json",
    f"{ROOT}/machine.json",
]


rule figures:
    input:
        DERIVED,
    output:
        svg=expand(f"{ROOT}/figures/{{name}}.svg", name=JOBS.figures),
        png=[
            report(
                f"{ROOT}/figures/{name}.png",
                caption=f"../report/{name}.rst",
                category=STUDY.name,
            )
            for name in JOBS.figures
        ],
    log:
        f"{ROOT}/logs/figures.log",
    benchmark:
        f"{ROOT}/benchmarks/figures.tsv"
    threads: 1
    resources:
        gpu=0,
    params:
        root=lambda wildcards: ROOT,
        code=stage_code("figures"),
    shell:
        "saltus stage figures --input {params.root} --out {params.root}/figures 2> {log}"


rule report_html:
    input:
        DERIVED,
        rules.figures.output.svg,
    output:
        f"{ROOT}/report.html",
    log:
        f"{ROOT}/logs/report.log",
    benchmark:
        f"{ROOT}/benchmarks/report.tsv"
    threads: 1
    resources:
        gpu=0,
    params:
        root=lambda wildcards: ROOT,
        code=stage_code("report"),
    shell:
        "saltus stage report --input {params.root} --out {output} 2> {log}"
