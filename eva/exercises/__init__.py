"""The checks of the exercises: `check_<name>(function)` says what a learner's function forgot, or that it is right."""

from eva.exercises.a_convolution_by_hand import check_count_weights, check_output_size
from eva.exercises.a_first_network import check_epoch_to_keep
from eva.exercises.augmentation import check_mixup
from eva.exercises.depthwise_separable import check_count_separable, check_separable
from eva.exercises.dilated_convolutions import check_dilations, check_same_padding
from eva.exercises.is_it_really_better import check_holm
from eva.exercises.learning_rate import check_momentum_step, check_one_cycle
from eva.exercises.normalise_and_regularise import check_batch_norm, check_dropout
from eva.exercises.receptive_field import check_corner_field, check_field
from eva.exercises.residual_connections import check_add_shortcut, check_count_paths
from eva.exercises.the_data import check_normalise, check_prepare
from eva.exercises.the_network import check_widest
from eva.exercises.train_it_for_real import check_predict_error, check_training_bytes
from eva.exercises.what_it_gets_wrong import check_cam, check_share_interval
from eva.exercises.what_learning_is import check_cross_entropy, check_descend

__all__ = [
    "check_add_shortcut",
    "check_batch_norm",
    "check_cam",
    "check_corner_field",
    "check_count_paths",
    "check_count_separable",
    "check_count_weights",
    "check_cross_entropy",
    "check_descend",
    "check_dilations",
    "check_dropout",
    "check_epoch_to_keep",
    "check_field",
    "check_holm",
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
