//! One sample of a convolution or of the gradient to its input.

/// What is active, and what the active rows are computed from. Rows are filters or, going back,
/// channels.
#[derive(Clone, Copy)]
pub(super) struct Sample<'a> {
    pub(super) rows: &'a [u32],
    /// Of each row, active or not, where its weights are among the rows of weights.
    pub(super) weight_rows: &'a [u32],
    pub(super) channels: &'a [u32],
    /// (channels, source plane).
    pub(super) source: &'a [f32],
    pub(super) source_plane: usize,
    /// Pixels of an output plane.
    pub(super) out_plane: usize,
    pub(super) epilogue: SampleEpilogue<'a>,
}

/// What is done to the sums of each output plane: `relu(sum + bias + residual)`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SampleEpilogue<'a> {
    /// (rows).
    pub(super) bias: Option<&'a [f32]>,
    /// As large as the sample's output.
    pub(super) residual: Option<&'a [f32]>,
    pub(super) relu: bool,
    /// Leave the planes of rows that are not active as they are.
    pub(super) exclude_inactive: bool,
}

impl<'a> Sample<'a> {
    /// The row of weights of an output row.
    pub(super) fn weight_row(&self, row: usize) -> usize {
        self.weight_rows[row] as usize
    }

    /// Whether a row is active and has something to sum over.
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

    /// Where the residual of a row's output plane of `plane` pixels starts; null without one.
    pub(super) fn residual(&self, row: usize, plane: usize) -> *const f32 {
        self.residual.map_or(std::ptr::null(), |residual| residual[row * plane..].as_ptr())
    }

    /// Writes the output plane of a row whose sum, bias included, is the same everywhere: 0 for one
    /// that is not active.
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
