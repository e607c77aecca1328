"""`saltus schema`: the JSON Schema of study files, for editors."""

import argparse
import json

from saltus.study import Study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(options: argparse.Namespace) -> None:
    """Print the schema."""
    print(json.dumps(Study.model_json_schema(), indent=2))
