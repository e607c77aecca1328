"""The command line: finds the command's module, and turns what a user must know into one line."""

import os
import sys
from importlib import import_module

from saltus import __version__
from saltus.cli.parser import Parser
from saltus.device import is_first_process, is_launched_by_torchrun
from saltus.errors import ProcessError, SaltusError, Stopped, nearest
from saltus.say import say

COMMANDS = {
    "plan": "print every job's parameters, tokens, FLOPs and estimated time; run nothing",
    "check": "validate a study file",
    "prepare": "corpora, tokenizer and shards of a study, without Snakemake",
    "train": "train a study's sizes, without Snakemake; resumable, with --time-limit",
    "probe": "probe what was trained, without Snakemake",
    "analyse": "tables, laws, thresholds and calibration of a study, without Snakemake",
    "run": "the whole study as a plain loop, without Snakemake; called again, it goes on",
    "sweep": "the learning-rate rule of a sweep, what it costs, and its lines for a study file",
    "law": "fit a law to a table of anybody's runs, with its certificate and intervals",
    "advise": "the compute-optimal run of a fitted law, and the runs that would tell most",
    "emergence": "where an ability appears in a table of anybody's accuracies, with its doubt",
    "calibration": "whether the confidences in a table of anybody's predictions are kept",
    "figures": "redraw the figures and the report of a folder from its tables alone",
    "export": "write a checkpoint in the format of Qwen3 for transformers",
    "publish": "copy a finished study's small tables and figures to results/reference",
    "where": "print where a finished study's figures and report are",
    "schema": "print the JSON Schema of study files",
    "stage": "one stage of the workflow (called by the rules)",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 for what the user must change."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    command, *rest = arguments
    if command not in COMMANDS:
        print(f"saltus: unknown command '{command}'{nearest(command, COMMANDS)}", file=sys.stderr)
        return 2
    try:
        module = import_module(f"saltus.cli.{command}")
        parser = Parser(command, COMMANDS[command])
        module.add_arguments(parser)
        return int(module.run(parser.read(rest)) or 0)
    except Stopped as stopped:
        if is_first_process():
            say(f"saltus {command}: {stopped}; saved, call again to go on")
        # torchrun takes any other code for a failure, ends the other processes and makes it a 1.
        return 0 if is_launched_by_torchrun() else stopped.code
    except SaltusError as error:
        # Under torchrun one of all processes says it, unless it alone may know.
        if is_first_process() or isinstance(error, ProcessError):
            print(f"saltus {command}: {_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _line(error: SaltusError) -> str:
    """Return an error as one line, whatever the names and values in it hold."""
    return " ".join(str(error).split())


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            f"saltus {__version__}: a scaling-laws and emergence laboratory",
            "",
            "usage: saltus COMMAND [options]    (saltus COMMAND --help tells more)",
            "",
            *lines,
        ]
    )
