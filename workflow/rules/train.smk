# One job per (size, replica block). One rule per size, so that the longest can start first: a
# rule's priority is a number. The job's state lives in results/.state, outside the declared output.

TRAIN_CODE = code_hash("saltus.train.job")
TORCH = version("torch")  # part of the state's key: another torch is another study

for size in STUDY.family.sizes:

    rule:
        name:
            f"train_{size}"
        input:
            f"{ROOT}/shards/manifest.json",
            f"{ROOT}/shards/alphabet.json",
        output:
            directory(f"{ROOT}/train/{size}/block{{block}}"),
        log:
            f"{ROOT}/logs/train-{size}-block{{block}}.log",
        benchmark:
            f"{ROOT}/benchmarks/train-{size}-block{{block}}.tsv"
        priority: JOBS.priority(size)
        threads: JOBS.threads_of(size)
        resources:
            gpu=JOBS.gpus_of(size),
        params:
            root=lambda wildcards: ROOT,
            states=STATES,
            device=STUDY.training.device,
            spec=lambda wildcards, size=size: JOBS.train(size, int(wildcards.block)),
            code=TRAIN_CODE,
            torch=TORCH,
        shell:
            f"{JOBS.launcher(size)} stage train"
            " --spec {params.spec:q} --code {params.code}"
            " --shards {params.root}/shards --states {params.states} --device {params.device}"
            " --out {output} 2> {log}"
