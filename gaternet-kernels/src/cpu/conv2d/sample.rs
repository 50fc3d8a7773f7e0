//! One sample of a convolution, or of the gradient of its input.

/// The active rows and channels of a sample, and the data that the rows are computed from. Rows are
/// filters or, going back, channels.
#[derive(Clone, Copy)]
pub(super) struct Sample<'a> {
    pub(super) rows: &'a [u32],
    /// The row of weights of each output row, active or not.
    pub(super) weight_rows: &'a [u32],
    pub(super) channels: &'a [u32],
    /// The source, (channels, source plane).
    pub(super) source: &'a [f32],
    pub(super) source_plane: usize,
    /// The pixels of an output plane.
    pub(super) out_plane: usize,
    pub(super) epilogue: SampleEpilogue<'a>,
}

/// The epilogue of each output plane: `relu(sum + bias + residual)`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SampleEpilogue<'a> {
    /// The bias of each row, (rows).
    pub(super) bias: Option<&'a [f32]>,
    /// The residual, as large as the sample's output.
    pub(super) residual: Option<&'a [f32]>,
    pub(super) relu: bool,
    /// Whether the planes of inactive rows are left as they are.
    pub(super) exclude_inactive: bool,
}

impl<'a> Sample<'a> {
    /// Returns the row of weights of an output row.
    pub(super) fn weight_row(&self, row: usize) -> usize {
        self.weight_rows[row] as usize
    }

    /// Returns whether a row is active and has a channel to sum over.
    pub(super) fn has_products(&self) -> bool {
        !self.rows.is_empty() && !self.channels.is_empty()
    }

    pub(super) fn plane(&self, channel: usize) -> &'a [f32] {
        &self.source[channel * self.source_plane..(channel + 1) * self.source_plane]
    }
}

impl SampleEpilogue<'_> {
    pub(super) fn bias(&self, row: usize) -> f32 {
        self.bias.map_or(0.0, |bias| bias[row])
    }

    /// Returns a pointer to the residual of a row's output plane of `plane` pixels, or null without
    /// a residual.
    pub(super) fn residual(&self, row: usize, plane: usize) -> *const f32 {
        self.residual.map_or(std::ptr::null(), |residual| residual[row * plane..].as_ptr())
    }

    /// Writes the output plane of a row whose sum, bias included, is the same everywhere: 0 for an
    /// inactive row.
    pub(super) fn fill(&self, row: usize, sum: f32, plane: &mut [f32]) {
        let relu = |y: f32| if self.relu && y <= 0.0 { 0.0 } else { y };
        // As sums, because 0 + -0 is 0: the bits of masking.
        let sum = 0.0 + sum;
        match self.residual {
            None => plane.fill(relu(sum)),
            Some(residual) => {
                let residual = &residual[row * plane.len()..(row + 1) * plane.len()];
                plane.iter_mut().zip(residual).for_each(|(y, r)| *y = relu(sum + r));
            }
        }
    }
}
