"""A network run without computing: on tensors that have shapes and no values, each operation told as it runs.

What does not depend on the images is computed for real (a constant, a range of positions), as far as it is needed to go
on; parameters stay as they are.
"""

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy
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
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from eva.modules import evaluating

_is_composite = torch._C._dispatch_has_kernel_for_dispatch_key
Told = Callable[["Operation"], None]


class DryRunError(ValueError):
    """This model cannot be followed. The message says what stands in the way."""


class Operation:
    """One operation as it ran: torch's name for it, its arguments by their names, and its results."""

    def __init__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: object, module: str) -> None:
        self.func, self.args, self.kwargs, self.output, self.module = func, args, kwargs, output, module
        self.name = func.__name__.split(".")[0]
        self.arguments = {a.name: value for a, value in zip(func._schema.arguments, args, strict=False)} | kwargs
        read = {name: value for name, value in kwargs.items() if name != "out"}
        self.inputs = [leaf for leaf in tree_leaves((args, read)) if isinstance(leaf, Tensor)]
        self.results = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]


class DryRun(TorchDispatchMode):
    """Runs operations on tensors without values where one of those is among their inputs, else for real.

    `tell` is called with each of them, after it ran; `running` is a stack of the names of the modules that run.
    """

    def __init__(self, tell: Told, protected: set[int]) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.tell, self.protected, self.running = tell, protected, [""]
        self.without_values = set[int]()  # memory that holds none, or none that can be trusted

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        output: Any
        if func.namespace == "aten" and _is_composite(func.name(), "CompositeImplicitAutograd"):
            with self:  # in torch.inference_mode an operation comes whole
                output = func.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        if any(isinstance(leaf, FakeTensor) for leaf in inputs):
            empty = {id(leaf): self._without_values(leaf) for leaf in inputs}
            stands_for = {id(empty[id(leaf)]): leaf for leaf in inputs}  # what is written to stays itself
            given, named = tree_map_only(Tensor, lambda leaf: empty[id(leaf)], (args, kwargs))
            with self.fake:
                output = func(*given, **named)
            output = tree_map_only(Tensor, lambda result: stands_for.get(id(result), result), output)
            self.without_values |= {memory_of(leaf) for leaf in tree_leaves(output) if isinstance(leaf, Tensor)}
        else:
            written = [a.name for a in func._schema.arguments if a.alias_info and a.alias_info.is_write]
            if written and memory_of(inputs[0]) in self.protected:
                raise DryRunError(f"{func.__name__} would write to a parameter: this model cannot be measured")
            output = func(*args, **kwargs)
        if func.namespace != "prim":  # which asks for a device
            self.tell(Operation(func, args, kwargs, output, self.running[-1]))
        return output

    def on_a_device(self, tensor: Tensor) -> Tensor:
        """The tensor, or, where it is on "meta" and has no values anyway, one as if it were on the CPU."""
        if tensor.device.type != "meta" or isinstance(tensor, FakeTensor):
            return tensor
        with self.fake:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")

    def _without_values(self, tensor: Tensor) -> Tensor:
        tensor = self.on_a_device(tensor)
        return tensor if isinstance(tensor, FakeTensor) else self.fake.from_tensor(tensor)


class _Unread(TorchFunctionMode):
    """Refuses to hand values to Python or numpy that a dry run has not computed."""

    def __init__(self, mode: DryRun) -> None:
        super().__init__()
        self.mode = mode

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("tolist", "numpy", "__array__", "data_ptr") and memory_of(args[0]) in self.mode.without_values:
            place = self.mode.running[-1] or "the model itself"
            raise DryRunError(f"{name} in {place}: how the network runs depends on the values of pixels")
        return func(*args, **(kwargs or {}))


def memory_of(tensor: Tensor) -> int:
    """Tensors that share their memory have the same."""
    return tensor.untyped_storage()._cdata


def images_like(model: nn.Module, input_size: tuple[int, int, int]) -> Tensor:
    """(1, C, H, W) of zeros, of the dtype and on the device of the model's weights, or on the CPU for meta."""
    weight = next((value for value in model.parameters() if value.is_floating_point()), torch.zeros(()))
    device = "cpu" if weight.device.type == "meta" else weight.device
    return torch.zeros(1, *input_size, dtype=weight.dtype, device=device)


def dry_run(
    model: nn.Module,
    images: Tensor,
    tell: Told,
    note: Callable[[str, object], None] | None = None,
    more: tuple[Any, ...] = (),
) -> object:
    """Run `model` in evaluation mode on images (N, C, H, W) without computing; returns its output, without values.

    `more` are its other arguments, if it has some.
    `tell` is called with each operation, and `note` with each module's name and output. The model stays as it is:
    parameters, buffers, mode, hooks, and what its modules remember. Raises DryRunError for a scripted model, lazy
    layers and pixels that decide how the network runs; and the model's own error where it fails.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise DryRunError(f"{type(model).__name__} is scripted: measure the model that it was made from")
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(value):
            raise DryRunError(f"{name} has no shape yet: run the model once on a batch before measuring it")
    parameters = {memory_of(value) for value in model.parameters()}
    mode, copies = DryRun(tell, parameters), dict[int, torch.UntypedStorage]()

    def copied(value: Tensor) -> Tensor:
        """The buffer with memory of its own, which those share that shared it."""
        memory = copies.setdefault(memory_of(value), value.untyped_storage().clone())
        return torch.empty(0, dtype=value.dtype, device=value.device).set_(
            memory, value.storage_offset(), value.shape, value.stride()
        )

    state = {
        f"{prefix}.{name}".lstrip("."): value
        for prefix, module in model.named_modules()  # a shared one once, or functional_call leaves it changed
        for name, value in (
            *((name, mode.on_a_device(value.detach())) for name, value in module.named_parameters(recurse=False)),
            *((name, mode.on_a_device(copied(value))) for name, value in module.named_buffers(recurse=False)),
        )
    }
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(_as_it_was(model))
        stack.enter_context(_followed(model, mode.running, note or (lambda name, output: None)))
        stack.enter_context(torch.no_grad())
        empty = mode.fake.from_tensor(images)
        mode.without_values.add(memory_of(empty))
        tell(Operation(torch.ops.aten.alias.default, (images,), {}, empty, ""))
        stack.enter_context(mode)
        stack.enter_context(_Unread(mode))
        try:
            return functional_call(model, state, (empty, *more), tie_weights=False)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            place = mode.running[-1] or "the model itself"
            raise DryRunError(
                f"{error.func} in {place}: how the network runs depends on the values of pixels"
            ) from None


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Put back what modules keep in their attributes, and torch's fast path for attention, which hides its steps."""
    kept = _Kept()
    for module in model.modules():
        kept.keep(vars(module))
    fast = torch.backends.mha.get_fastpath_enabled()
    states = torch.get_rng_state(), random.getstate(), numpy.random.get_state()  # noqa: NPY002  # theirs, if they use it
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        numpy.random.set_state(states[2])  # noqa: NPY002
        kept.put_back()


class _Kept:
    """What dictionaries, lists and objects hold, however deep, to be put back as it was."""

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}
        self._back: list[Callable[[], Any]] = []

    def keep(self, value: Any) -> None:
        if id(value) in self._known:
            return
        self._known[id(value)] = value
        if isinstance(value, nn.Parameter | nn.Module | type) or callable(value):
            return
        if isinstance(value, Tensor):
            if value.device.type != "meta" and value.numel() < 1_000_000 and not isinstance(value, FakeTensor):
                content = value.detach().clone()
                self._back.append(lambda: torch.equal(value, content) or value.detach().copy_(content))
        elif isinstance(value, torch.Generator):
            state = value.get_state()
            self._back.append(lambda: value.set_state(state))
        elif isinstance(value, dict):
            items = [*value.items()]
            self._back.append(lambda: _refilled(value, items))
            self._all(value.values())
        elif isinstance(value, list | deque):
            elements = [*value]
            self._back.append(lambda: _extended(value, elements))
            self._all(elements)
        elif isinstance(value, set):
            members = set(value)
            self._back.append(lambda: value.symmetric_difference_update(value ^ members))
        elif isinstance(value, tuple):
            self._all(value)
        elif hasattr(value, "__dict__") and type(value).__module__ not in ("builtins", "torch"):
            self.keep(vars(value))

    def _all(self, values: Any) -> None:
        for value in values:
            self.keep(value)

    def put_back(self) -> None:
        for back in self._back:
            back()


def _extended(sequence: list[Any] | deque[Any], elements: list[Any]) -> None:
    sequence.clear()
    sequence.extend(elements)


def _refilled(dictionary: dict[Any, Any], items: list[tuple[Any, Any]]) -> None:
    now = [*dictionary.items()]
    same = len(now) == len(items) and all(a is b and c is d for (a, c), (b, d) in zip(now, items, strict=True))
    if not same:
        dictionary.clear()
        dictionary.update(items)


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
