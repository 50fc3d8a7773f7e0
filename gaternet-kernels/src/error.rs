//! Errors of kernel calls.

/// A kernel call whose arguments do not fit together. Nothing was computed or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A slice is not as long as the dims say.
    #[error("{op}: `{buffer}` has {got} elements, its dims need {expected}")]
    BufferLength {
        /// The kernel that was called.
        op: &'static str,
        /// The argument that does not fit.
        buffer: &'static str,
        /// The number of elements that the dims ask for.
        expected: usize,
        /// The number of elements that were given.
        got: usize,
    },
    /// The dims describe no computation (a zero stride, a kernel larger than the padded input,
    /// ...).
    #[error("{op}: {rule}, got {got}")]
    Dims {
        /// The kernel that was called.
        op: &'static str,
        /// The rule that is broken.
        rule: &'static str,
        /// The offending values.
        got: String,
    },
    /// A list of active filters does not fit the call.
    #[error(
        "{op}: {list} lists {got_filters} filters of {got_batch} samples, expected {filters} of {batch}"
    )]
    ActiveFilters {
        /// The kernel that was called.
        op: &'static str,
        /// The argument that holds the list.
        list: &'static str,
        /// The number of samples in the list.
        got_batch: usize,
        /// The number of filters that the list chooses from.
        got_filters: usize,
        /// The number of samples of the call.
        batch: usize,
        /// The number of filters or channels of the call.
        filters: usize,
    },
    /// A label is not a class.
    #[error("{op}: label {label} of sample {sample} is not below the number of classes, {classes}")]
    Label {
        /// The kernel that was called.
        op: &'static str,
        /// The number of the sample in the batch, from 0.
        sample: usize,
        /// The label.
        label: usize,
        /// The number of classes.
        classes: usize,
    },
    /// An instruction set is unknown, or this machine lacks it.
    #[error("instruction set {name:?}: {rule}")]
    Isa {
        /// The name that was asked for.
        name: String,
        /// The reason why it cannot be had.
        rule: String,
    },
}

/// Result of a kernel call.
pub type Result<T, E = KernelError> = std::result::Result<T, E>;

/// Returns `Err` unless `got == expected`.
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
