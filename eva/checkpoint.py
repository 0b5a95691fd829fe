"""What a run leaves on disk: written whole or not at all, and read without trusting it.

A checkpoint is one file from which a network can be rebuilt and used: its constructor's arguments, its weights, and
what its images must look like. It holds tensors and plain values only, so that reading it never runs code.
"""

import os
import pickle
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eva.files import save_tensors
from eva.model import Net

_FORMAT = 1


class CheckpointError(ValueError):
    """The file is not a checkpoint that can be used here. The message says why, and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    arguments: dict[str, Any]  # of the network's constructor
    weights: dict[str, Tensor]
    classes: list[str]
    mean: list[float]  # of each channel, as fractions of full scale; likewise std
    std: list[float]
    data: str  # the name of the data that it was trained on
    results: dict[str, Any]  # what was measured, "validation_accuracy" and so on; of the shipped network all of it
    training: dict[str, Any] | None = None  # what going on with the run needs; None in a file that is only for use


def save(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> None:
    """Write `checkpoint` to `path`, replacing what was there only once the new file is complete."""
    # dataclasses.asdict would copy every tensor.
    content = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    save_tensors({"format": _FORMAT, **content}, path)


def load(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Checkpoint:
    """Read what `save` wrote. Raises FileNotFoundError, or CheckpointError where the file is damaged or something else.

    Only tensors and plain values are read (torch's `weights_only`): a file made to run code is refused.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist: train a network first (python -m eva train --out FOLDER)")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} cannot be read as a checkpoint, and nothing in it was run: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{path} is not a checkpoint of format {_FORMAT} (found {found!r}): made elsewhere")
    del content["format"]
    expected = {field.name for field in fields(Checkpoint)}
    if content.keys() != expected:
        raise CheckpointError(f"{path} is incomplete: {sorted(expected ^ content.keys())} missing or unknown")
    return Checkpoint(**content)


def load_weights(model: nn.Module, weights: dict[str, Tensor], origin: str | os.PathLike[str]) -> None:
    """Put `weights` into `model`. Raises CheckpointError naming what differs, before anything has been changed."""
    own = model.state_dict()
    differences = [f"{name} is missing" for name in own.keys() - weights.keys()]
    differences += [f"{name} is not in this network" for name in weights.keys() - own.keys()]
    differences += [
        f"{name} is {tuple(weights[name].shape)} in the file and {tuple(own[name].shape)} in the network"
        for name in own.keys() & weights.keys()
        if own[name].shape != weights[name].shape
    ]
    if differences:
        shown = "\n".join(f"  {line}" for line in sorted(differences)[:8])
        more = f"\n  and {len(differences) - 8} more" if len(differences) > 8 else ""
        raise CheckpointError(
            f"{origin} belongs to another network than this {type(model).__name__}:\n{shown}{more}\n"
            "Build the network that it is of; one of another version of eva needs that version, or training anew."
        )
    model.load_state_dict(weights)


def restore(saved: Checkpoint, origin: str = "the checkpoint") -> Net:
    """The network of a checkpoint, ready to predict. Raises CheckpointError where its weights do not fit a `Net`."""
    try:
        net = Net(**saved.arguments)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{origin} is not of a Net of this version: {error}") from error
    load_weights(net, saved.weights, origin)
    return net.eval()


def pretrained_card() -> Checkpoint:
    """What is known of the network that ships with the package.

    Its data's name, classes and normalisation; in `results` the report of the run that trained it (accuracies, recipe,
    seed, seconds, hardware) and, as "rows", its epochs.
    """
    with resources.as_file(resources.files("eva") / "pretrained.pt") as path:
        return load(path)


def pretrained() -> Net:
    """The trained `Net` that ships with the package, ready to predict. `pretrained_card()` says on what it learned."""
    return restore(pretrained_card(), "the shipped pretrained.pt")
