# What the tables say: laws, thresholds, calibration. Tables in, small tables out; no checkpoints.


# Written before any rule reads a row of the largest size, which is no input here (`tables` waits for it).
rule prediction:
    input:
        JOBS.folders(f"{ROOT}/train", below_largest=True),
        JOBS.files(f"{ROOT}/probe", ["items", "losses"], below_largest=True),
    output:
        f"{ROOT}/prediction.json",
    log:
        f"{ROOT}/logs/prediction.log",
    benchmark:
        f"{ROOT}/benchmarks/prediction.tsv"
    threads: 1
    resources:
        gpu=0,
    params:
        spec=JOBS.prediction(),
        code=stage_code("prediction"),
        folders=JOBS.folders(f"{ROOT}/train", below_largest=True)
        + JOBS.folders(f"{ROOT}/probe", below_largest=True),
    shell:
        "saltus stage prediction --spec {params.spec:q} --code {params.code}"
        " --input {params.folders} --out {output} 2> {log}"


rule laws:
    input:
        f"{ROOT}/tables/runs.parquet",
        f"{ROOT}/prediction.json",
    output:
        JOBS.law_outputs(ROOT),
    log:
        f"{ROOT}/logs/laws.log",
    benchmark:
        f"{ROOT}/benchmarks/laws.tsv"
    threads: 1
    resources:
        gpu=0,
    params:
        root=lambda wildcards: ROOT,
        spec=JOBS.laws(),
        code=stage_code("laws"),
    shell:
        "saltus stage laws --spec {params.spec:q} --input {input} --out {params.root} 2> {log}"


rule thresholds:
    input:
        f"{ROOT}/tables/items.parquet",
        f"{ROOT}/tables/runs.parquet",
    output:
        f"{ROOT}/tables/scores.parquet",
        f"{ROOT}/tables/thresholds.parquet",
        f"{ROOT}/tables/breakdown.parquet",
        f"{ROOT}/tables/seeds.parquet",
        f"{ROOT}/tables/probabilities.parquet",
        f"{ROOT}/tables/foretold.parquet",
        f"{ROOT}/emergence.json",
    log:
        f"{ROOT}/logs/thresholds.log",
    benchmark:
        f"{ROOT}/benchmarks/thresholds.tsv"
    threads: 1
    resources:
        gpu=0,
    params:
        root=lambda wildcards: ROOT,
        spec=JOBS.laws(),
        code=stage_code("thresholds"),
    shell:
        "saltus stage thresholds --spec {params.spec:q} --input {input}"
        " --out {params.root}/tables 2> {log}"


rule calibration:
    input:
        f"{ROOT}/tables/tokens.parquet",
        f"{ROOT}/tables/items.parquet",
        f"{ROOT}/tables/runs.parquet",
    output:
        [f"{ROOT}/tables/{name}.parquet" for name in CALIBRATION_TABLES],
        f"{ROOT}/calibration.json",
    log:
        f"{ROOT}/logs/calibration.log",
    benchmark:
        f"{ROOT}/benchmarks/calibration.tsv"
    threads: 1
    resources:
        gpu=0,
    params:
        root=lambda wildcards: ROOT,
        spec=JOBS.calibration(),
        code=stage_code("calibration"),
    shell:
        "saltus stage calibration --spec {params.spec:q} --input {input}"
        " --out {params.root}/tables 2> {log}"
