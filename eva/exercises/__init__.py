"""The checks of the exercises: `check_<name>(answer)` says what a learner's answer forgot, or that it is right."""

from eva.exercises.augmentation import check_mixup
from eva.exercises.blocks import (
    check_add_shortcut,
    check_batch_norm,
    check_count_paths,
    check_count_separable,
    check_dropout,
    check_separable,
    check_widest,
)
from eva.exercises.first import (
    check_corner_field,
    check_count_weights,
    check_cross_entropy,
    check_dilations,
    check_field,
    check_normalise,
    check_output_size,
    check_prepare,
    check_same_padding,
)
from eva.exercises.mistakes import check_cam, check_share_interval
from eva.exercises.optimizers import check_momentum_step, check_one_cycle
from eva.exercises.scaling import check_predict_error, check_training_bytes

__all__ = [
    "check_add_shortcut",
    "check_batch_norm",
    "check_cam",
    "check_corner_field",
    "check_count_paths",
    "check_count_separable",
    "check_count_weights",
    "check_cross_entropy",
    "check_dilations",
    "check_dropout",
    "check_field",
    "check_mixup",
    "check_momentum_step",
    "check_normalise",
    "check_one_cycle",
    "check_output_size",
    "check_predict_error",
    "check_prepare",
    "check_same_padding",
    "check_separable",
    "check_share_interval",
    "check_training_bytes",
    "check_widest",
]
