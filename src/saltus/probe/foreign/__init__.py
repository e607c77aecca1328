"""The same probes on a model in Hugging Face format: ours exported, or anybody's."""
