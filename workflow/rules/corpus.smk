# Text: from the catalogue to token files.


rule corpus:
    input:
        lambda wildcards: JOBS.local_files(wildcards.domain),
    output:
        text=f"{ROOT}/corpus/{{domain}}/text.jsonl",
        manifest=f"{ROOT}/corpus/{{domain}}/manifest.json",
    log:
        f"{ROOT}/logs/corpus-{{domain}}.log",
    benchmark:
        f"{ROOT}/benchmarks/corpus-{{domain}}.tsv"
    threads: 1
    resources:
        gpu=0,
    params:
        cache=CACHE,
        spec=lambda wildcards: JOBS.corpus(wildcards.domain),
        code=code_hash("saltus.data.corpus"),
        out=lambda wildcards: f"{ROOT}/corpus/{wildcards.domain}",
    shell:
        "saltus stage corpus --spec {params.spec:q} --cache {params.cache} --out {params.out} 2> {log}"


rule tokenizer:
    input:
        expand(f"{ROOT}/corpus/{{domain}}/text.jsonl", domain=JOBS.training_domains),
    output:
        f"{ROOT}/tokenizer/tokenizer.json",
    log:
        f"{ROOT}/logs/tokenizer.log",
    benchmark:
        f"{ROOT}/benchmarks/tokenizer.tsv"
    threads: 1
    resources:
        gpu=0,
    params:
        root=lambda wildcards: ROOT,
        spec=JOBS.tokenizer(),
        code=code_hash("saltus.data.tokenizer")
        + code_hash("saltus.data.shards")
        + code_hash("saltus.data.corpus"),
        folders=expand(f"{ROOT}/corpus/{{domain}}", domain=JOBS.training_domains),
    shell:
        "saltus stage tokenizer --spec {params.spec:q} --input {params.folders}"
        " --out {params.root}/tokenizer 2> {log}"


rule shards:
    input:
        expand(f"{ROOT}/corpus/{{domain}}/text.jsonl", domain=JOBS.domains),
        f"{ROOT}/tokenizer/tokenizer.json",
    output:
        f"{ROOT}/shards/manifest.json",
        f"{ROOT}/shards/alphabet.json",
        f"{ROOT}/shards/token_bytes.json",
        expand(
            f"{ROOT}/shards/{{domain}}-{{split}}.{{kind}}",
            domain=JOBS.domains,
            split=["train", "validation", "test"],
            kind=["bin", "offsets.npy", "documents.npy"],
        ),
    log:
        f"{ROOT}/logs/shards.log",
    benchmark:
        f"{ROOT}/benchmarks/shards.tsv"
    threads: 1
    resources:
        gpu=0,
    params:
        root=lambda wildcards: ROOT,
        spec=JOBS.shards(),
        code=code_hash("saltus.data.shards")
        + code_hash("saltus.data.corpus")
        + code_hash("saltus.data.writing"),
        folders=expand(f"{ROOT}/corpus/{{domain}}", domain=JOBS.domains),
    shell:
        "saltus stage shards --spec {params.spec:q} --input {params.folders} {params.root}/tokenizer"
        " --out {params.root}/shards 2> {log}"
