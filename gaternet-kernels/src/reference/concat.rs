//! Concatenation of the rows of several matrices.

/// Returns (batch, sum of the widths) of parts (batch, width of each).
#[must_use]
pub fn forward(batch: usize, parts: &[&[f64]]) -> Vec<f64> {
    let mut y = Vec::new();
    for n in 0..batch {
        for part in parts {
            let width = part.len() / batch;
            y.extend_from_slice(&part[n * width..(n + 1) * width]);
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.cat([torch.tensor([[1.], [2.]]), torch.tensor([[3., 4.], [5., 6.]])], dim=1)`
    #[test]
    fn rows_agree_with_pytorch() {
        let y = forward(2, &[&[1.0, 2.0], &[3.0, 4.0, 5.0, 6.0]]);
        assert_eq!(y, [1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
    }
}
