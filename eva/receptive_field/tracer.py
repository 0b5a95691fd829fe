"""A network followed as it runs, from operation to operation: torch's dispatcher tells of each one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from eva.receptive_field.arithmetic import Layer, ReceptiveFieldError, Seen, Span


@dataclass(frozen=True)
class Call:
    """One operation as it ran, and what is known of the tensors that went into it."""

    name: str
    module: str  # that it ran in
    arguments: dict[str, Any]
    inputs: list[Tensor]  # those that see something of the image
    fields: list[Seen]  # of the inputs
    result: Tensor
    layers: list[Layer]  # so far; an operation that widens what is seen adds itself

    @property
    def tensor(self) -> Tensor:
        return self.inputs[0]

    @property
    def seen(self) -> Seen:
        return self.fields[0]

    def refusal(self, why: str, name: str | None = None) -> ReceptiveFieldError:
        place = self.module or "the model itself"
        return ReceptiveFieldError(
            f"the operation {name or self.name} in {place}: {why}, so no exact field can be given"
        )


Rule = Callable[[Call], Seen]  # what the result of an operation sees


class Tracer(TorchDispatchMode):
    """Follows what each tensor sees from operation to operation, by `rules`, of which each operation has one.

    names: a stack of the modules that are running.
    """

    def __init__(self, images: Tensor, names: list[str], rules: Mapping[str, Rule]) -> None:
        super().__init__()
        self.names, self.rules, self.layers = names, rules, list[Layer]()
        self.seen = {id(images): Seen((Span(), Span()), (2, 3))}
        self.alive: list[Tensor] = [images]  # an id must not be used twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and id(leaf) in self.seen]
        results = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        if inputs and results:
            name = func.__name__.split(".")[0]
            arguments = {a.name: value for a, value in zip(func._schema.arguments, args, strict=False)}
            fields = [self.seen[id(tensor)] for tensor in inputs]
            call = Call(name, self.names[-1], arguments | (kwargs or {}), inputs, fields, results[0], self.layers)
            if name not in self.rules:
                raise call.refusal("it is not known how it changes what is seen")
            after = self.rules[name](call)
            self.alive += results
            self.seen |= {id(result): after for result in results}  # several outputs, of a split say, see the same
        return output
