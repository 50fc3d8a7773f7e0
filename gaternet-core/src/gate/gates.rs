//! The gates of one batch, for every gated convolution of a network.

use std::ops::Range;
use std::sync::Arc;

use gaternet_kernels::ActiveFilters;

use crate::error::{Error, Result};
use crate::ops;
use crate::tensor::Tensor;

/// The gates of a batch, (N, total), whose columns belong to gated layers, in order.
///
/// The lists of active filters are built once, before the first layer runs.
#[derive(Debug, Clone)]
pub struct Gates {
    values: Tensor,
    layers: Vec<(Range<usize>, Arc<ActiveFilters>)>,
}

/// The gates of one convolution.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GateSlice {
    /// (N, filters of the convolution), part of the graph of the gates.
    pub values: Tensor,
    /// The filters whose gate is not 0.
    pub active: Arc<ActiveFilters>,
}

impl Gates {
    /// `values` is (N, sum of `widths`); layer i takes the next `widths[i]` columns.
    ///
    /// # Errors
    /// [`Error::Shape`] if the widths do not add up to the columns.
    pub fn new(values: Tensor, widths: &[usize]) -> Result<Gates> {
        let fail = || Error::Shape {
            op: "gates",
            rule: "the gates must be (N, sum of the layers' widths)",
            got: format!("{} for widths {widths:?}", values.shape()),
        };
        let [_, total] = ops::dims("gates", "the gates must be (N, C)", &values)?;
        let sum = widths.iter().try_fold(0usize, |sum, &width| sum.checked_add(width));
        if sum != Some(total) {
            return Err(fail());
        }
        let mut layers = Vec::with_capacity(widths.len());
        let mut start = 0;
        for &width in widths {
            let active = ActiveFilters::from_columns(values.data(), total, start, width);
            layers.push((start..start + width, Arc::new(active.ok_or_else(fail)?)));
            start += width;
        }
        Ok(Gates { values, layers })
    }

    /// All gates, (N, total).
    #[must_use]
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// Number of gated layers.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Number of gates of each gated layer.
    #[must_use]
    pub fn widths(&self) -> Vec<usize> {
        self.layers.iter().map(|(columns, _)| columns.len()).collect()
    }

    /// The active filters of gated layer `index`; `None` if there is no such layer.
    #[must_use]
    pub fn active(&self, index: usize) -> Option<&Arc<ActiveFilters>> {
        self.layers.get(index).map(|(_, active)| active)
    }

    /// The gates of gated layer `index`.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no such layer.
    pub fn layer(&self, index: usize) -> Result<GateSlice> {
        let Some((columns, active)) = self.layers.get(index) else {
            return Err(Error::Shape {
                op: "gates",
                rule: "there must be a layer of this number",
                got: format!("layer {index} of {}", self.layers.len()),
            });
        };
        Ok(GateSlice {
            values: ops::columns(&self.values, columns.clone())?,
            active: active.clone(),
        })
    }

    /// Share of gates that are not 0, 0 to 1; 1 if there is no gate.
    #[must_use]
    pub fn density(&self) -> f64 {
        if self.values.is_empty() {
            return 1.0;
        }
        let active: usize = self.layers.iter().map(|(_, active)| active.count()).sum();
        active as f64 / self.values.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_take_their_columns_in_order() {
        #[rustfmt::skip]
        let values = vec![
            1.0, 0.0, 0.5, 0.0, 1.0,
            0.0, 0.0, 1.0, 1.0, 0.0,
        ];
        let values = Tensor::new(values, [2, 5]).expect("10 values");
        let gates = Gates::new(values, &[2, 3]).expect("2 + 3 = 5");
        let second = gates.layer(1).expect("there are two");
        assert_eq!(second.values.data(), [0.5, 0.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!((second.active.row(0), second.active.row(1)), (&[0, 2][..], &[0, 1][..]));
        assert_eq!(gates.layer(0).expect("there are two").active.row(1), [0u32; 0]);
        assert_eq!((gates.widths(), gates.density()), (vec![2, 3], 0.5));
        assert_eq!(gates.layers(), 2);
        assert!(gates.layer(2).is_err());
    }

    #[test]
    fn widths_must_add_up() {
        let values = Tensor::zeros([2, 5]).expect("small");
        let error = Gates::new(values, &[2, 2]).expect_err("4 is not 5").to_string();
        assert!(error.contains("(2, 5) for widths [2, 2]"), "{error}");
    }
}
