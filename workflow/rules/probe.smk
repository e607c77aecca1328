# What every checkpoint of a block can do; then the tables that all analysis begins with.


rule probe:
    input:
        trained=f"{ROOT}/train/{{size}}/block{{block}}",
        tokenizer=f"{ROOT}/tokenizer/tokenizer.json",
        shards=[
            f"{ROOT}/shards/manifest.json",
            f"{ROOT}/shards/alphabet.json",
            f"{ROOT}/shards/token_bytes.json",
            *expand(
                f"{ROOT}/shards/{{domain}}-{{split}}.bin",
                domain=JOBS.domains,
                split=["validation", "test"],
            ),
        ],
    output:
        f"{ROOT}/probe/{{size}}/block{{block}}/items.parquet",
        f"{ROOT}/probe/{{size}}/block{{block}}/tokens.parquet",
        f"{ROOT}/probe/{{size}}/block{{block}}/losses.parquet",
    log:
        f"{ROOT}/logs/probe-{{size}}-block{{block}}.log",
    benchmark:
        f"{ROOT}/benchmarks/probe-{{size}}-block{{block}}.tsv"
    threads: 1
    resources:
        gpu=JOBS.gpus,
    params:
        root=lambda wildcards: ROOT,
        device=STUDY.training.device,
        spec=lambda wildcards: JOBS.probe(wildcards.size, int(wildcards.block)),
        code=code_hash("saltus.probe.job"),
        out=lambda wildcards: f"{ROOT}/probe/{wildcards.size}/block{wildcards.block}",
    shell:
        "saltus stage probe --spec {params.spec:q} --shards {params.root}/shards"
        " --input {input.trained} {params.root}/tokenizer --device {params.device} --out {params.out} 2> {log}"


rule tables:
    input:
        JOBS.folders(f"{ROOT}/train"),
        JOBS.files(f"{ROOT}/probe", ["items", "tokens", "losses"]),
        # Nothing of the largest size is read before its prediction is on disk. Not ancient(): Snakemake
        # would then pass over the other inputs whenever the prediction is made anew.
        foretold=f"{ROOT}/prediction.json",
    output:
        tables=expand(
            f"{ROOT}/tables/{{name}}.parquet",
            name=["runs", "items", "tokens", "losses", "curves"],
        ),
        study=f"{ROOT}/study.json",
        machine=f"{ROOT}/machine.json",
    log:
        f"{ROOT}/logs/tables.log",
    benchmark:
        f"{ROOT}/benchmarks/tables.tsv"
    threads: 1
    resources:
        gpu=0,
    params:
        root=lambda wildcards: ROOT,
        spec=JOBS.tables(),
        code=stage_code("tables"),
        folders=JOBS.folders(f"{ROOT}/train") + JOBS.folders(f"{ROOT}/probe"),
    shell:
        "saltus stage tables --spec {params.spec:q} --input {params.folders}"
        " --out {params.root}/tables 2> {log}"
