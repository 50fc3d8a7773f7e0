//! Faults to be planted in copies of the kernels, in groups that one run each must catch
//! (`planting.rs`). They are data: the emulator is built with all of them.

pub(crate) mod conv2d;
pub(crate) mod fault;
pub(crate) mod gates;
pub(crate) mod layers;
pub(crate) mod training;

use gaternet_kernels::test_support::emulator::Patch;

use fault::Fault;

const GROUPS: [&[Fault]; 23] = [
    conv2d::FORWARD_TO_ROWS,
    conv2d::FORWARD_FROM_ROWS,
    conv2d::BACKWARD_F32,
    conv2d::BACKWARD,
    conv2d::BACKWARD_STRIDED,
    conv2d::BACKWARD_WEIGHT_DENSE,
    conv2d::BACKWARD_WEIGHT,
    conv2d::LISTS,
    conv2d::BACKWARD_DEEP,
    gates::SHARED_GATES,
    gates::MIN_ACTIVE,
    gates::TARGET,
    gates::BATCH_SHAPING,
    gates::GUMBEL_SIGMOID,
    layers::WINDOWS,
    layers::CONCAT,
    layers::PAD,
    layers::DROPOUT,
    layers::SHAKE_SHAKE,
    training::SGD,
    training::AVERAGES,
    training::BLENDED,
    training::TWO_LABELS,
];

pub(crate) fn patches() -> Vec<&'static Patch> {
    GROUPS.into_iter().flatten().map(|fault| &fault.patch).collect()
}
