use gaternet_kernels::cuda::ema::Averages;
use gaternet_kernels::cuda::{Clock, CudaBuffer, CudaDevice, CudaGraph, PerStep};

use crate::check::{close, download, upload, values, widen};
use crate::emulator;

/// Four updates of arrays of all lengths, of which the second is recorded and played three times:
/// each has its own fraction, and beyond the fractions the last counts.
pub(crate) fn updates(device: &CudaDevice) -> Result<(), String> {
    const LENGTHS: [usize; 6] = [3, 2048, 0, 1, 2049, 4500];
    let list = |seed: usize| LENGTHS.map(|len| values((seed + len) as u64, len));
    let (mut of_values, before) = (list(0).map(|v| upload(device, &v)), list(7));
    let mut averages = before.clone().map(|v| upload(device, &v));
    let mut kernel =
        Averages::new(device, of_values.iter().zip(&mut averages)).map_err(|e| e.to_string())?;
    let fractions = [1.0, 0.75, 0.0625];
    let of_steps = upload(device, &fractions);
    let mut clock = Clock::new(device, 0, 0).map_err(|e| e.to_string())?;
    let mut update = || {
        kernel.update(PerStep { clock: &clock, values: &of_steps })?;
        clock.advance()
    };
    update().map_err(|e| e.to_string())?;
    let mut want = before.map(|average| widen(&average));
    let graph = CudaGraph::capture(device, update).map_err(|e| e.to_string())?;
    for (step, fraction) in [0, 1, 2, 2].map(|at| fractions[at]).into_iter().enumerate() {
        if step > 0 {
            let next = list(20 * step);
            for (buffer, next) in of_values.iter_mut().zip(&next) {
                buffer.copy_from_slice(next).map_err(|e| e.to_string())?;
            }
            graph.launch().map_err(|e| e.to_string())?;
        }
        for (i, values) in list(20 * step).iter().enumerate() {
            let pairs = want[i].iter_mut().zip(values);
            pairs.for_each(|(w, &v)| *w += f64::from(fraction) * (f64::from(v) - *w));
            let what = format!("step {step}, {} values", LENGTHS[i]);
            close(&what, &download(&averages[i])?, &want[i], 1e-6)?;
        }
    }
    Ok(())
}

#[test]
fn averages_approach_their_values() {
    let Some(device) = emulator::device() else { return };
    updates(&device).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_fraction_of_1_copies_to_zeros() {
    let Some(device) = emulator::device() else { return };
    let host = [1e-30, -3.0, 0.1, f32::MAX];
    let (value, mut average) =
        (upload(&device, &host), CudaBuffer::zeros(&device, 4).expect("zeros"));
    let mut kernel = Averages::new(&device, [(&value, &mut average)]).expect("one length");
    let (clock, one) = (Clock::new(&device, 0, 7).expect("a clock"), upload(&device, &[1.0]));
    kernel.update(PerStep { clock: &clock, values: &one }).expect("a launch");
    assert_eq!(download(&average).as_deref(), Ok(&host[..]));
}

#[test]
fn lengths_must_be_those_of_the_values_and_a_fraction_is_needed() {
    let Some(device) = emulator::device() else { return };
    let (value, mut average) = (upload(&device, &[0.0; 2]), upload(&device, &[0.0; 3]));
    let error = Averages::new(&device, [(&value, &mut average)]).expect_err("3 for 2").to_string();
    assert!(error.contains("`average` has 3 elements, its dims need 2"), "{error}");
    let (mut average, none) = (upload(&device, &[0.0; 2]), upload(&device, &[]));
    let mut kernel = Averages::new(&device, [(&value, &mut average)]).expect("one length");
    let clock = Clock::new(&device, 0, 0).expect("a clock");
    let update = kernel.update(PerStep { clock: &clock, values: &none });
    let error = update.expect_err("no fraction").to_string();
    assert!(error.contains("there must be a step"), "{error}");
}
