"""Compilation of modules where it pays."""

import contextlib
import logging
import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch import nn

from modelmill.core import cache
from modelmill.core.errors import UserError
from modelmill.recipe import Training

log = logging.getLogger("modelmill")
# Where torch keeps compiled code.
_KERNELS_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
# FLOPs of a training above which compiling saves more than it costs: the first time it takes about a minute, and a
# step then takes half to four fifths of its time. See benchmarks/README.md.
PAYS_FROM = {"cpu": 1.5e13, "cuda": 1e16}


def compile_modules(modules: list[nn.Module], settings: Training, flops: float, device: torch.device) -> bool:
    """Compile modules in place if the settings say so, or if a training of so many FLOPs gains by it.

    Modules with equal code share compiled code, so a deep model costs no more than one of its blocks.

    Args:
        modules: The modules to compile.
        settings: The stage's settings.
        flops: FLOPs of the whole training.
        device: The device of the training.

    Returns:
        Whether they were compiled: a function of settings, model and machine, so that a resumed run does the same.

    Raises:
        UserError: `compile: on` without a compiler.
    """
    wanted = settings.compile == "on" or (settings.compile == "auto" and flops >= PAYS_FROM[device.type])
    if not wanted or not modules:
        return False
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        if settings.compile == "on":
            raise UserError(f"compile: on needs a C++ compiler and there is no {compiler}; install it or set CXX")
        log.info("not compiled: there is no %s; with it, a step would take about two thirds of the time", compiler)
        return False
    torch.use_deterministic_algorithms(True)  # holds for compiled code too
    keep_kernels()
    for module in modules:
        # A kernel for each shape: which ones there are must not depend on the order in which shapes come. What DDP
        # and FSDP hang on a module's call stays outside.
        module.forward = torch.compile(module.forward, dynamic=False)
    return True


def as_written(compiled: bool) -> contextlib.AbstractContextManager[None]:
    """Return a context in which compiled modules run uncompiled, for shapes that are rare."""
    return torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()


def keep_kernels() -> None:
    """Have compiled code kept in this user's cache, unless the user has chosen a place."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # torch sets the variable itself as soon as anything imports its compiler, to a temporary folder that goes with
    # the run.
    if os.environ.get(_KERNELS_VARIABLE) in (None, default_cache_dir()):
        os.environ[_KERNELS_VARIABLE] = str(_cache_folder())


def _cache_folder() -> Path:
    """Return this user's cache of compiled kernels, or a temporary one where the home folder cannot be written."""
    folder = cache.folder() / "kernels"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="modelmill-kernels-"))
    return folder
