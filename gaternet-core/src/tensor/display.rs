//! Tensors as text.

use std::fmt;

use super::Tensor;

/// Tensors with more elements are shortened.
const WHOLE: usize = 1000;
/// Entries at each end of a dimension of a shortened tensor.
const ENDS: usize = 3;
/// Characters of a line.
const WIDTH: usize = 80;
const PRECISION: usize = 4;

/// The elements in nested rows, with the columns aligned, as PyTorch prints them: whole numbers
/// with a point at the end, others with 4 digits after it or as many as the format's precision
/// says, with exponents where the sizes differ by more than 1000 or leave the range of 0.0001 to
/// 1e8. Of more than 1000 elements, the first and last 3 of each dimension are there. A tensor
/// without elements shows its shape.
///
/// ```
/// # use gaternet_core::Tensor;
/// let x = Tensor::from([[1.0, -2.5], [0.25, 100.0]]);
/// assert_eq!(x.to_string(), "[[  1.0000,  -2.5000],\n [  0.2500, 100.0000]]");
/// assert_eq!(format!("{x:.1}"), "[[  1.0,  -2.5],\n [  0.2, 100.0]]");
/// ```
impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return write!(f, "[] of shape {}", self.shape());
        }
        let ends = (self.len() > WHOLE).then_some(ENDS);
        let text = Text::new(self, ends, f.precision().unwrap_or(PRECISION));
        text.write(f, self.dims(), self.data(), 1)
    }
}

/// How the numbers are written.
struct Text {
    ends: Option<usize>,
    style: Style,
    width: usize,
}

#[derive(Clone, Copy)]
enum Style {
    Whole,
    Fixed(usize),
    Exponent(usize),
}

impl Style {
    fn text(self, value: f32) -> String {
        match self {
            _ if !value.is_finite() => value.to_string(),
            Style::Whole => format!("{value:.0}."),
            Style::Fixed(precision) => format!("{value:.precision$}"),
            Style::Exponent(precision) => format!("{value:.precision$e}"),
        }
    }
}

impl Text {
    fn new(tensor: &Tensor, ends: Option<usize>, precision: usize) -> Text {
        let mut shown = Vec::new();
        collect(ends, tensor.dims(), tensor.data(), &mut shown);
        let sizes = shown.iter().filter(|x| x.is_finite() && **x != 0.0).map(|x| x.abs());
        let (least, most) = sizes.fold((f32::MAX, 0.0f32), |(a, b), x| (a.min(x), b.max(x)));
        let spread = f64::from(most) > 1000.0 * f64::from(least);
        let style = if shown.iter().all(|x| !x.is_finite() || x.fract() == 0.0) {
            if most > 1e8 { Style::Exponent(precision) } else { Style::Whole }
        } else if spread || most > 1e8 || least < 1e-4 {
            Style::Exponent(precision)
        } else {
            Style::Fixed(precision)
        };
        let width = shown.iter().map(|&x| style.text(x).len()).max().unwrap_or(0);
        Text { ends, style, width }
    }

    /// The elements of a tensor of these sizes; lines after the first have this indent.
    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        dims: &[usize],
        data: &[f32],
        indent: usize,
    ) -> fmt::Result {
        let Some((&len, inner)) = dims.split_first() else {
            return write!(f, "{:>width$}", self.style.text(data[0]), width = self.width);
        };
        f.write_str("[")?;
        let each = data.len() / len;
        let in_line = (WIDTH.saturating_sub(indent) / (self.width + 2)).max(1);
        for (place, index) in indices(self.ends, len).into_iter().enumerate() {
            if place > 0 {
                let ends_line = !inner.is_empty() || place % in_line == 0;
                // A blank line between the planes of a cube, two between cubes.
                let lines = if inner.is_empty() { 1 } else { inner.len() };
                match ends_line {
                    true => write!(f, ",{}{:indent$}", "\n".repeat(lines), "")?,
                    false => f.write_str(", ")?,
                }
            }
            match index {
                Some(i) => self.write(f, inner, &data[i * each..(i + 1) * each], indent + 1)?,
                None => f.write_str("...")?,
            }
        }
        f.write_str("]")
    }
}

/// The indices of a dimension that are shown, `None` where some are left out.
fn indices(ends: Option<usize>, len: usize) -> Vec<Option<usize>> {
    match ends {
        Some(ends) if len > 2 * ends => {
            let (first, last) = ((0..ends).map(Some), (len - ends..len).map(Some));
            first.chain([None]).chain(last).collect()
        }
        _ => (0..len).map(Some).collect(),
    }
}

/// The elements that are shown.
fn collect(ends: Option<usize>, dims: &[usize], data: &[f32], out: &mut Vec<f32>) {
    let Some((&len, inner)) = dims.split_first() else {
        return out.push(data[0]);
    };
    let each = data.len() / len;
    for i in indices(ends, len).into_iter().flatten() {
        collect(ends, inner, &data[i * each..(i + 1) * each], out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_number_has_its_style() {
        let text = |values: &[f32]| Tensor::from(values).to_string();
        assert_eq!(text(&[1.0, -20.0, 0.0]), "[  1., -20.,   0.]");
        assert_eq!(text(&[0.5, f32::NAN, 1.0]), "[0.5000,    NaN, 1.0000]");
        assert_eq!(text(&[0.001, 2.5]), "[1.0000e-3,  2.5000e0]");
        assert_eq!(text(&[3e9, 1.0]), "[3.0000e9, 1.0000e0]");
        assert_eq!(Tensor::from(-1.5).to_string(), "-1.5000");
        assert_eq!(Tensor::zeros([2, 0]).expect("empty").to_string(), "[] of shape (2, 0)");
        assert_eq!(text(&[f32::INFINITY, f32::NEG_INFINITY]), "[ inf, -inf]");
    }

    #[test]
    fn dimensions_are_nested_and_planes_are_set_apart() {
        let cube = Tensor::from([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]);
        let want = "[[[1., 2.],\n  [3., 4.]],\n\n [[5., 6.],\n  [7., 8.]]]";
        assert_eq!(cube.to_string(), want);
    }

    #[test]
    fn large_tensors_are_shortened_and_long_rows_are_wrapped() {
        let large = Tensor::new((0..10_000).map(|i| i as f32).collect(), [100, 100]);
        let text = large.expect("10000 values").to_string();
        let first = "[[   0.,    1.,    2., ...,   97.,   98.,   99.],\n";
        assert!(text.starts_with(first), "{text}");
        assert!(text.contains(" ...,\n [9700., 9701.,"), "{text}");
        assert_eq!(text.lines().count(), 7);
        let row = Tensor::from([0.5; 20]).to_string();
        let lines: Vec<_> = row.lines().map(str::len).collect();
        assert_eq!(lines, [72, 72, 16], "{row}");
    }
}
