"""A network run without computing: on tensors that have shapes and no values, each operation told as it runs.

What does not depend on the images is computed for real (a constant, a range of positions), as far as it is needed to go
on; parameters stay as they are.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.func import functional_call
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from eva.modules import evaluating

Told = Callable[["Operation"], None]


class DryRunError(ValueError):
    """This model cannot be followed. The message says what stands in the way."""


class Operation:
    """One operation as it ran: torch's name for it, its arguments by their names, and its results."""

    def __init__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: object, module: str) -> None:
        self.func, self.args, self.kwargs, self.output, self.module = func, args, kwargs, output, module
        self.name = func.__name__.split(".")[0]
        self.arguments = {a.name: value for a, value in zip(func._schema.arguments, args, strict=False)} | kwargs
        self.inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self.results = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]


class DryRun(TorchDispatchMode):
    """Runs operations on tensors without values where one of those is among their inputs, else for real.

    `tell` is called with each of them, after it ran; `running` is a stack of the names of the modules that run.
    """

    def __init__(self, tell: Told, protected: set[int]) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.tell, self.protected, self.running = tell, protected, [""]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        output: Any
        if any(isinstance(leaf, FakeTensor) for leaf in inputs):
            empty = {id(leaf): self._without_values(leaf) for leaf in inputs}
            stands_for = {id(empty[id(leaf)]): leaf for leaf in inputs}  # what is written to stays itself
            given, named = tree_map_only(Tensor, lambda leaf: empty[id(leaf)], (args, kwargs))
            with self.fake:
                output = func(*given, **named)
            output = tree_map_only(Tensor, lambda result: stands_for.get(id(result), result), output)
        else:
            written = [a.name for a in func._schema.arguments if a.alias_info and a.alias_info.is_write]
            if written and inputs[0].untyped_storage()._cdata in self.protected:
                raise DryRunError(f"{func.__name__} would write to a parameter: this model cannot be measured")
            output = func(*args, **kwargs)
        self.tell(Operation(func, args, kwargs, output, self.running[-1]))
        return output

    def _without_values(self, tensor: Tensor) -> Tensor:
        if isinstance(tensor, FakeTensor):
            return tensor
        if tensor.device.type == "meta":  # of a model that was made there
            with self.fake:
                return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
        return self.fake.from_tensor(tensor)


def images_like(model: nn.Module, input_size: tuple[int, int, int], count: int = 1) -> Tensor:
    """(count, C, H, W) of zeros, of the dtype and on the device of the model's weights, or on the CPU for meta."""
    weight = next((value for value in model.parameters() if value.is_floating_point()), torch.zeros(()))
    device = "cpu" if weight.device.type == "meta" else weight.device
    return torch.zeros(1, dtype=weight.dtype, device=device).expand(count, *input_size)


def dry_run(model: nn.Module, images: Tensor, tell: Told, note: Callable[[str, object], None] | None = None) -> object:
    """Run `model` in evaluation mode on images (N, C, H, W) without computing; returns its output, without values.

    `tell` is called with each operation, and `note` with each module's name and output. The model stays as it is:
    parameters, buffers, mode, hooks, and what its modules remember. Raises DryRunError for a scripted model, lazy
    layers and pixels that decide how the network runs; and the model's own error where it fails.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise DryRunError(f"{type(model).__name__} is scripted: measure the model that it was made from")
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(value):
            raise DryRunError(f"{name} has no shape yet: run the model once on a batch before measuring it")
    parameters = {value.untyped_storage()._cdata for value in model.parameters()}
    mode = DryRun(tell, parameters)
    state = {
        f"{prefix}.{name}".lstrip("."): value
        for prefix, module in model.named_modules()  # a shared one once, or functional_call leaves it changed
        for name, value in (
            *((name, value.detach()) for name, value in module.named_parameters(recurse=False)),
            *((name, value.clone()) for name, value in module.named_buffers(recurse=False)),
        )
    }
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(_as_it_was(model))
        stack.enter_context(_followed(model, mode.running, note or (lambda name, output: None)))
        stack.enter_context(torch.no_grad())
        empty = mode.fake.from_tensor(images)
        tell(Operation(torch.ops.aten.alias.default, (images,), {}, empty, ""))
        stack.enter_context(mode)
        try:
            return functional_call(model, state, (empty,), tie_weights=False)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            place = mode.running[-1] or "the model itself"
            raise DryRunError(
                f"{error.func} in {place}: how the network runs depends on the values of pixels"
            ) from None


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Put back what modules keep in their attributes, and torch's fast path for attention, which hides its steps."""
    kept = [(module, [(name, value, _content(value)) for name, value in vars(module).items()])
            for module in model.modules()]  # fmt: skip
    fast, random = torch.backends.mha.get_fastpath_enabled(), torch.get_rng_state()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch.set_rng_state(random)
        for module, attributes in kept:
            vars(module).clear()
            for name, value, content in attributes:
                vars(module)[name] = value
                if isinstance(value, dict) and [*value.items()] != content:
                    value.clear()
                    value.update(content)
                elif isinstance(value, list):
                    value[:] = content


def _content(value: Any) -> Any:
    return [*value.items()] if isinstance(value, dict) else [*value] if isinstance(value, list) else None


@contextmanager
def _followed(model: nn.Module, running: list[str], note: Callable[[str, object], None]) -> Iterator[None]:
    """Keep the names of the modules that are running on the stack `running`, and tell `note` of each one's output.

    Global hooks do it: the model's own stay as they are. They heed this model in this thread alone: another one may be
    training meanwhile.
    """
    names, thread = {module: name for name, module in model.named_modules()}, threading.get_ident()

    def ours(module: nn.Module) -> bool:
        return module in names and threading.get_ident() == thread

    def entered(module: nn.Module, inputs: object) -> None:
        if ours(module):
            running.append(names[module])

    def left(module: nn.Module, inputs: object, output: object) -> None:
        if ours(module):
            note(running.pop(), output)

    before = nn.modules.module.register_module_forward_pre_hook(entered)
    after = nn.modules.module.register_module_forward_hook(left, always_call=True)
    try:
        yield
    finally:
        before.remove()
        after.remove()
