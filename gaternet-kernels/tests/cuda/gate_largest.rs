use gaternet_kernels::cuda::{CudaDevice, GatedLayers, gate_largest};

use crate::check::{download, upload, values};
use crate::emulator;

/// Which of `layer` are the `count` largest, the first of equals.
fn largest(layer: &[f32], count: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..layer.len()).collect();
    order.sort_by(|&a, &b| layer[b].total_cmp(&layer[a]).then(a.cmp(&b)));
    let mut open = vec![false; layer.len()];
    order[..count].iter().for_each(|&i| open[i] = true);
    open
}

/// Top-k and floor on layers of these widths, of which up to `count` gates are open.
pub(crate) fn check(
    device: &CudaDevice,
    widths: &[usize],
    batch: usize,
    count: usize,
) -> Result<(), String> {
    let open = |width: usize| count.min(width);
    let layers = GatedLayers::new(device, widths, open).map_err(|error| error.to_string())?;
    // Few different ones, so that some are equal; zeros of both signs, infinities and NaN among
    // them.
    let mut logits: Vec<f32> =
        values(1, batch * layers.columns()).iter().map(|v| (v * 5.0).round()).collect();
    for (i, value) in [(3, f32::INFINITY), (7, f32::NAN), (9, -0.0), (10, 0.0), (12, -f32::NAN)] {
        if let Some(place) = logits.get_mut(i) {
            *place = value;
        }
    }
    let before: Vec<f32> =
        logits.iter().map(|p| if p.is_nan() { *p } else { 0.25 + 0.01 * p }).collect();
    let logits_d = upload(device, &logits);
    let mut top_k = upload(device, &vec![f32::NAN; logits.len()]);
    gate_largest::top_k(&layers, &logits_d, &mut top_k).map_err(|error| error.to_string())?;
    let mut floor = upload(device, &before);
    gate_largest::min_active(&layers, &logits_d, &mut floor).map_err(|error| error.to_string())?;
    let [top_k, floor] = [download(&top_k)?, download(&floor)?];
    let mut start = 0;
    for &width in widths.iter().cycle().take(batch * widths.len()) {
        let largest = largest(&logits[start..start + width], open(width));
        for (at, open) in (start..).zip(largest) {
            let nan = logits[at].is_nan();
            let closed = if nan { f32::NAN } else { 0.0 };
            let [of_top_k, of_floor] = match open && !nan {
                true => [1.0, 1.0],
                false => [closed, before[at]],
            };
            for (what, got, want) in
                [("top-k", top_k[at], of_top_k), ("floor", floor[at], of_floor)]
            {
                if got != want && !(got.is_nan() && want.is_nan()) {
                    let of = logits[at];
                    return Err(format!(
                        "{widths:?}: gates {at} of {of}: {what} {got}, not {want}"
                    ));
                }
            }
        }
        start += width;
    }
    Ok(())
}

#[test]
fn the_largest_of_every_layer_are_open() {
    let Some(device) = emulator::device() else { return };
    for (widths, batch) in
        [(&[1][..], 1), (&[2, 4], 3), (&[5, 1, 130], 2), (&[300], 2), (&[16; 5], 9), (&[3], 0)]
    {
        for count in [0, 1, 3, 200] {
            check(&device, widths, batch, count).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    for (widths, open) in [(&[2, 0][..], 0), (&[2, 3], 3)] {
        let error = GatedLayers::new(&device, widths, |_| open).expect_err("refused");
        assert!(error.to_string().contains("a layer must have a column"), "{error}");
    }
    let layers = GatedLayers::new(&device, &[2, 1], |_| 1).expect("valid");
    let [five, mut six] = [5, 6].map(|len| upload(&device, &vec![0.0; len]));
    let error = gate_largest::top_k(&layers, &five, &mut six).expect_err("5 of 6").to_string();
    assert!(error.contains("`logits` has 5 elements, its dims need 6"), "{error}");
}
