"""Which input pixels does a unit of a network see, and how much does each of them count?

rf = receptive_field(model, input_size=(3, 64, 64))
rf.size, rf.jump, rf.start, rf.whole_image
print(rf)
effective_receptive_field(model, images)
"""

from eva.receptive_field.arithmetic import Layer, Pair, ReceptiveFieldError, shown
from eva.receptive_field.effective import EffectiveField, effective_receptive_field
from eva.receptive_field.exact import ReceptiveField, receptive_field

__all__ = ["EffectiveField", "Layer", "Pair", "ReceptiveField", "ReceptiveFieldError", "effective_receptive_field",
           "receptive_field", "shown"]  # fmt: skip
