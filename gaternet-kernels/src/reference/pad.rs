//! Padding with borders of zeros, and (where negative) cropping.

/// Returns (planes, H + top + bottom, W + left + right) of x (planes, H, W); `padding` is (left,
/// right, top, bottom).
#[must_use]
pub fn forward(size: [usize; 2], padding: [isize; 4], x: &[f64]) -> Vec<f64> {
    let [h, w] = size.map(|side| side as isize);
    let [left, right, top, bottom] = padding;
    let mut y = Vec::new();
    for plane in x.chunks(size[0] * size[1]) {
        for row in -top..h + bottom {
            for column in -left..w + right {
                let inside = (0..h).contains(&row) && (0..w).contains(&column);
                y.push(if inside { plane[(row * w + column) as usize] } else { 0.0 });
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `F.pad(torch.arange(1., 7.).view(1, 2, 3), (-1, 1, 1, -1))`
    #[test]
    fn borders_agree_with_pytorch() {
        let y = forward([2, 3], [-1, 1, 1, -1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(y, [0.0, 0.0, 0.0, 2.0, 3.0, 0.0]);
    }
}
