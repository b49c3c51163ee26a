"""The table of commands: every name and its summary, known without importing what carries it out.

A command is the function `command` of the module that its words name: `modelmill data validate` is
`commands/data/validate.py`, `modelmill lr-find` is `commands/lr_find.py`. Its summary here is the first line of that
function's docstring.
"""

import keyword

SUMMARY = "Turn a folder of data into a model that has earned its place in a registry."
EXAMPLE = "Example: modelmill run recipes/python-lm.yaml"

# In the order in which help lists them.
COMMANDS = {
    "run": "Run a recipe from its data to a registered model; what is unchanged is reused.",
    "plan": "Show which steps a run would run, why, and what training would cost.",
    "lr-find": "Suggest a learning rate: train a few batches while the rate rises, and draw how the loss moves.",
    "compile": "Write the recipe's KFP pipeline (IR YAML), to upload to a cluster.",
    "demo-data": "Write the data that a demo recipe trains on, from what is on this machine or in a Python package.",
    "demo-model": "Write a base model to fine-tune, from the Python package that holds it, and the data of its recipe.",
    "new-task": "Write a package for a new kind of model that runs as it is, with recipe, suite and test.",
    "report": "Say where a run's HTML report is, or write it to a file, or print the run's log, or compare two runs.",
    "import": "Bring a base model into store and registry, so that recipes start from models:/NAME/VERSION.",
    "doctor": "Check, one by one, what a run needs: Python, libraries, store, registry, disk, device, and a recipe.",
    "schema": "Print the JSON schema of recipes, by which an editor completes and checks them.",
    "promote": "Make a verified version of a model the champion, whatever its evaluation says.",
    "rollback": "Put the previous champion back; the version rolled back from is not promoted again but by a person.",
    "predict": "Ask a registered version: rows in, an answer a row out as JSON Lines; or hold a conversation.",
    "lineage": "Show what a registered version was made from, down to its shards; or what was made from a shard.",
    "gc": "Delete what no registered version, no recent run and no running step reaches.",
    "submit": "Start a run of a recipe on a cluster; the pipeline is uploaded if the cluster does not have it.",
    "status": "List the newest runs of a cluster, or show one with its steps.",
    "logs": "Print what a run's steps have said: their logs in the store, else the errors that KFP has.",
    "resume": "Go on with a run that has ended: a new run of the same version, in which finished steps are reused.",
    "cancel": "Stop a run; what its steps have finished or saved is kept, and resume goes on from there.",
    "trigger": "Start a run on the cluster, unless one was started for the same recipe on the same data.",
    "trigger-server": "Serve signed triggers and events of the object store, and look for changed data.",
    "data validate": "Hold data against a suite, as the first step of a run does.",
    "data profile": "Show what the columns of data look like, and draft a suite that they keep.",
    "data drift": "Hold a recipe's data against that of its registered model.",
    "data quarantine": "List what a run left out, and why: shards, malformed rows, unusable images or recordings.",
    "data show": "Print why a shard was quarantined, with samples of its bad rows.",
    "registry list": "List the models that this store has registered, where they stand, and imported base models.",
    "registry show": "Show a model's versions, or one of them with what made it and what was decided about it.",
    "registry diff": "Show what differs between two versions: settings, shards of the data, metrics, code.",
    "registry log": "Show every decision about a model, newest first, and check that none was changed or left out.",
    "registry repair": "Point MLflow's aliases to where the store says that they belong.",
    "schedule diff": "Show what apply would change; nothing is changed and nothing is uploaded.",
    "schedule apply": "Make the cluster agree with the file: create, replace, switch on and off, and delete runs.",
}

GROUPS = {
    "data": "Ask something of data outside a run.",
    "registry": "Look at what is registered, and why.",
    "schedule": "Run recipes again and again on a cluster.",
}


def module_of(words: str) -> str:
    """Return the path of a command's module below `commands`; a word of Python's own, `import`, has a suffix."""
    path = words.replace(" ", ".").replace("-", "_")
    return f"{path}_model" if keyword.iskeyword(path) else path
