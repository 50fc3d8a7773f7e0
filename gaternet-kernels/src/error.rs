//! What can be wrong with a kernel call.

/// A kernel call whose arguments do not fit together. Nothing was computed or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A slice is not as long as the dims say.
    #[error("{op}: `{buffer}` has {got} elements, its dims need {expected}")]
    BufferLength {
        /// The kernel.
        op: &'static str,
        /// The argument.
        buffer: &'static str,
        /// Elements the dims ask for.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// Dims that describe no computation (a zero stride, a kernel larger than the padded input,
    /// ...).
    #[error("{op}: {rule}, got {got}")]
    Dims {
        /// The kernel.
        op: &'static str,
        /// The rule that is broken.
        rule: &'static str,
        /// The offending values.
        got: String,
    },
    /// A list of active filters that is not one for this call.
    #[error(
        "{op}: {list} lists {got_filters} filters of {got_batch} samples, expected {filters} of {batch}"
    )]
    ActiveFilters {
        /// The kernel.
        op: &'static str,
        /// Which list.
        list: &'static str,
        /// Samples in the list.
        got_batch: usize,
        /// Filters in the list.
        got_filters: usize,
        /// Samples of the call.
        batch: usize,
        /// Filters (or channels) of the call.
        filters: usize,
    },
    /// A label is not a class.
    #[error("{op}: label {label} of sample {sample} is not below the number of classes, {classes}")]
    Label {
        /// The kernel.
        op: &'static str,
        /// Index in the batch.
        sample: usize,
        /// The label.
        label: usize,
        /// Number of classes.
        classes: usize,
    },
    /// An instruction set that is unknown or that this machine lacks.
    #[error("instruction set {name:?}: {rule}")]
    Isa {
        /// The name asked for.
        name: String,
        /// Why it cannot be had.
        rule: String,
    },
}

/// Result of a kernel call.
pub type Result<T, E = KernelError> = std::result::Result<T, E>;

/// `Err` unless `got == expected`.
pub(crate) fn check_len(
    op: &'static str,
    buffer: &'static str,
    expected: usize,
    got: usize,
) -> Result<()> {
    if got == expected {
        Ok(())
    } else {
        Err(KernelError::BufferLength { op, buffer, expected, got })
    }
}
