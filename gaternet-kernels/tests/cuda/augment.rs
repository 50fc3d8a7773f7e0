use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::augment::{self, Augment, Images, Mix};
use gaternet_kernels::cuda::{Clock, CudaBuffer, CudaDevice, CudaError, CudaGraph, bf16};
use gaternet_kernels::reference::philox::philox4x32_10;

use crate::check::{Real, close, dense_len, download, download_dense, unwritten};
use crate::emulator;

const NOTHING: Augment = Augment {
    crop_padding: 0,
    reflect: false,
    flip: false,
    cutout: 0,
    mean: [0.4914, 0.4822, 0.4465, 0.5],
    std: [0.2470, 0.2435, 0.2616, 0.25],
};

/// M images of (channels, H, W) on the host.
struct Host {
    channels: usize,
    size: [usize; 2],
    bytes: Vec<u8>,
    labels: Vec<i32>,
}

impl Host {
    fn new(images: usize, channels: usize, size: [usize; 2]) -> Host {
        let len = (images * channels * size[0] * size[1]) as u32;
        let bytes = (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        Host { channels, size, bytes, labels: (0..images as i32).map(|i| i * 3 % 10).collect() }
    }

    fn upload(&self, device: &CudaDevice) -> Images {
        let bytes = CudaBuffer::from_slice(device, &self.bytes).expect("a copy");
        let labels = CudaBuffer::from_slice(device, &self.labels).expect("a copy");
        Images::new(bytes, labels, self.channels, self.size).expect("lengths fit")
    }

    fn dims(&self, batch: usize) -> PlaneDims {
        PlaneDims { batch, channels: self.channels, plane: self.size[0] * self.size[1] }
    }

    /// Image `index` as it is to come out at a step, (C, H, W): the specification, pixel by pixel.
    fn augmented(&self, augment: &Augment, seed: u64, step: u64, index: usize) -> Vec<f64> {
        let [height, width] = self.size.map(|side| side as i64);
        let draw = |stream: u32| {
            let counter = [index as u32, stream * 4 + 2, step as u32, (step >> 32) as u32];
            philox4x32_10(counter, seed)
        };
        let below = |word: u32, count: i64| (i64::from(word) * count) >> 32;
        let padding = augment.crop_padding as i64;
        let (crop, hole) = (draw(0), draw(1));
        let down = below(crop[0], 2 * padding + 1) - padding;
        let right = below(crop[1], 2 * padding + 1) - padding;
        let flipped = augment.flip && crop[2] >> 31 == 1;
        let centre = [below(hole[0], height), below(hole[1], width)];
        let side = augment.cutout as i64;
        let in_hole =
            |at: i64, centre: i64| at >= centre - side / 2 && at < centre + (side + 1) / 2;
        let beyond = |at: i64, size: i64| match at {
            _ if (0..size).contains(&at) => Some(at),
            _ if !augment.reflect => None,
            _ if at < 0 => Some(-at),
            _ => Some(2 * (size - 1) - at),
        };
        let mut out = Vec::new();
        for c in 0..self.channels {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let column = if flipped { width - 1 - x } else { x };
                let from = beyond(y + down, height).zip(beyond(column + right, width));
                let plane = (index * self.channels + c) as i64 * height;
                let byte = from.map_or(0, |(y, x)| self.bytes[((plane + y) * width + x) as usize]);
                let value = (f64::from(byte) / 255.0 - f64::from(augment.mean[c]))
                    / f64::from(augment.std[c]);
                let hole = side > 0 && in_hole(y, centre[0]) && in_hole(x, centre[1]);
                out.push(if hole { 0.0 } else { value });
            }
        }
        out
    }
}

fn grid<T: Real>() {
    let Some(device) = emulator::device() else { return };
    for (host, batch) in [
        (Host::new(7, 3, [32, 32]), 3),
        (Host::new(4, 1, [5, 9]), 1),
        (Host::new(3, 4, [17, 16]), 2),
    ] {
        let images = host.upload(&device);
        let order: Vec<i32> =
            (0..2 * batch as i32).map(|i| (i * 2 + 1) % images.len() as i32).collect();
        let order_d = CudaBuffer::from_slice(&device, &order).expect("a copy");
        for augment in [
            NOTHING,
            Augment { crop_padding: 4, flip: true, ..NOTHING },
            Augment { crop_padding: 4, reflect: true, flip: true, cutout: 3, ..NOTHING },
            Augment { cutout: 16, ..NOTHING },
            Augment { cutout: 1 << 40, ..NOTHING },
        ] {
            for (seed, step) in [(1, 0), (1, 1), (9 << 40, (1 << 32) + 2)] {
                let clock = Clock::new(&device, seed, step).expect("a clock");
                let dims = host.dims(batch);
                let mut out = unwritten::<T>(&device, dense_len(dims));
                let mut labels = CudaBuffer::from_slice(&device, &vec![-7; batch]).expect("a copy");
                augment::batch(&augment, &images, &order_d, &clock, &mut out, &mut labels, None)
                    .expect("a launch");
                let first = (step % 2) as usize * batch;
                let chosen = || order[first..first + batch].iter().map(|&i| i as usize);
                let want: Vec<f64> =
                    chosen().flat_map(|i| host.augmented(&augment, seed, step, i)).collect();
                let what = format!("{augment:?}, {:?}, step {step}", host.size);
                let got = download_dense(dims, &out).unwrap_or_else(|e| panic!("{what}: {e}"));
                close(&what, &got, &want, T::BOUND).unwrap_or_else(|e| panic!("{e}"));
                let want: Vec<i32> = chosen().map(|i| host.labels[i]).collect();
                assert_eq!(labels.to_vec().expect("a copy"), want, "{what}");
            }
        }
    }
}

#[test]
fn batches_are_what_the_draws_say() {
    grid::<bf16>();
}

#[test]
fn batches_in_f32_are_what_the_draws_say() {
    grid::<f32>();
}

/// A batch in which each image is blended with another, at two places of an order.
pub(crate) fn blended<T: Real>(device: &CudaDevice) -> Result<(), String> {
    let host = Host::new(5, 3, [17, 19]);
    let images = host.upload(device);
    let (order, partners) = ([4, 0, 2, 1, 3, 0], [0, 4, 2, 3, 0, 9]);
    let [order_d, partners_d] =
        [order, partners].map(|list| CudaBuffer::from_slice(device, &list).expect("a copy"));
    let fractions = [0.25, 0.9];
    let shares_d = CudaBuffer::from_slice(device, &fractions).expect("a copy");
    let augment = Augment { crop_padding: 3, flip: true, cutout: 5, ..NOTHING };
    for step in [0, 1, 2] {
        let clock = Clock::new(device, 5, step).expect("a clock");
        let dims = host.dims(3);
        let mut out = unwritten::<T>(device, dense_len(dims));
        let [mut labels, mut others] =
            [7, 8].map(|value| CudaBuffer::from_slice(device, &[value; 3]).expect("a copy"));
        let mut fraction = CudaBuffer::from_slice(device, &[f32::NAN]).expect("a copy");
        let mix = Mix {
            partners: &partners_d,
            fractions: &shares_d,
            labels: &mut others,
            fraction: &mut fraction,
        };
        augment::batch(&augment, &images, &order_d, &clock, &mut out, &mut labels, Some(mix))
            .map_err(|e| e.to_string())?;
        let of_epoch = (step % 2) as usize;
        let chosen = |list: [i32; 6]| <[i32; 3]>::try_from(&list[3 * of_epoch..][..3]).expect("3");
        let (own, other) = (chosen(order), chosen(partners));
        let image = |i: i32| match usize::try_from(i) {
            Ok(i) if i < 5 => host.augmented(&augment, 5, step, i),
            _ => vec![f64::NAN; 3 * 17 * 19],
        };
        let weight = f64::from(fractions[of_epoch]);
        let blend = |(own, other)| {
            let pairs = image(own).into_iter().zip(image(other));
            pairs.map(|(x, y)| weight * x + (1.0 - weight) * y).collect::<Vec<f64>>()
        };
        let want: Vec<Vec<f64>> = own.into_iter().zip(other).map(blend).collect();
        let got = download_dense(dims, &out)?;
        for (n, (got, want)) in got.chunks(3 * 17 * 19).zip(&want).enumerate() {
            if other[n] < 5 {
                close(&format!("image {n} of step {step}"), got, want, T::BOUND)?;
            } else {
                assert!(got.iter().any(|value| value.is_nan()), "a partner that is no image");
            }
        }
        let labels_of = |list: [i32; 3]| list.map(|i| *host.labels.get(i as usize).unwrap_or(&-1));
        let got = [labels, others].map(|labels| labels.to_vec().expect("a copy"));
        if got != [labels_of(own), labels_of(other)]
            || download(&fraction)? != [fractions[of_epoch]]
        {
            return Err(format!("step {step}: labels {got:?}, fraction {:?}", download(&fraction)));
        }
    }
    Ok(())
}

#[test]
fn blended_images_have_both_labels() {
    let Some(device) = emulator::device() else { return };
    blended::<f32>(&device).unwrap_or_else(|error| panic!("{error}"));
    blended::<bf16>(&device).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn draws_are_uniform() {
    let host = Host::new(1, 1, [1, 1]);
    let Some(device) = emulator::device() else { return };
    // 600 images whose pixels say where they come from.
    let count = 600;
    let bytes: Vec<u8> = (0..count).flat_map(|_| 0..25u8).collect();
    let host = Host { size: [5, 5], bytes, labels: vec![0; count], ..host };
    let augment = Augment {
        crop_padding: 1,
        reflect: true,
        flip: true,
        mean: [0.0; 4],
        std: [1.0 / 255.0; 4],
        ..NOTHING
    };
    let order: Vec<i32> = (0..count as i32).collect();
    let order = CudaBuffer::from_slice(&device, &order).expect("a copy");
    let clock = Clock::new(&device, 3, 0).expect("a clock");
    let mut out = unwritten::<f32>(&device, dense_len(host.dims(count)));
    let mut labels = CudaBuffer::from_slice(&device, &vec![0; count]).expect("a copy");
    augment::batch(&augment, &host.upload(&device), &order, &clock, &mut out, &mut labels, None)
        .expect("a launch");
    let mut seen = std::collections::BTreeMap::new();
    let out = download_dense(host.dims(count), &out).expect("no fault");
    for image in out.chunks(25) {
        // The middle and its right neighbour tell shift and flip.
        *seen.entry((image[12].round() as u8, image[13] > image[12])).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 18, "{seen:?}");
    // 33 expected of each, with a standard deviation of 5.6.
    assert!(seen.values().all(|n| (12..56).contains(n)), "{seen:?}");
}

#[test]
fn a_graph_goes_through_the_order_and_from_its_start_again() {
    let Some(device) = emulator::device() else { return };
    let host = Host::new(6, 3, [4, 4]);
    let (images, dims) = (host.upload(&device), host.dims(2));
    let order = CudaBuffer::from_slice(&device, &[5, 0, 3, 3, 1, 2]).expect("a copy");
    let mut clock = Clock::new(&device, 1, 0).expect("a clock");
    let mut out = unwritten::<bf16>(&device, dense_len(dims));
    let mut labels = CudaBuffer::from_slice(&device, &[0; 2]).expect("a copy");
    let augment = Augment { crop_padding: 2, ..NOTHING };
    let mut work = || {
        augment::batch(&augment, &images, &order, &clock, &mut out, &mut labels, None)?;
        clock.advance()
    };
    work().expect("a launch loads the kernels");
    let graph = CudaGraph::capture(&device, work).expect("a graph");
    for (step, chosen) in [(1, [3, 3]), (2, [1, 2]), (3, [5, 0]), (4, [3, 3])] {
        graph.launch().expect("a launch");
        let want = chosen.map(|i: usize| host.labels[i]);
        assert_eq!(labels.to_vec().expect("a copy"), want, "step {step}");
        let want: Vec<f64> =
            chosen.iter().flat_map(|&i| host.augmented(&augment, 1, step, i)).collect();
        let got = download_dense(dims, &out).expect("no fault");
        close("images", &got, &want, bf16::BOUND).unwrap_or_else(|e| panic!("step {step}: {e}"));
    }
}

#[test]
fn a_number_that_is_no_image_shows() {
    let Some(device) = emulator::device() else { return };
    let host = Host::new(2, 1, [2, 2]);
    let order = CudaBuffer::from_slice(&device, &[1, 2, -1]).expect("a copy");
    let clock = Clock::new(&device, 0, 0).expect("a clock");
    let mut out = unwritten::<f32>(&device, dense_len(host.dims(3)));
    let mut labels = CudaBuffer::from_slice(&device, &[0; 3]).expect("a copy");
    augment::batch(&NOTHING, &host.upload(&device), &order, &clock, &mut out, &mut labels, None)
        .expect("a launch");
    assert_eq!(labels.to_vec().expect("a copy"), [host.labels[1], -1, -1]);
    let got = download_dense(host.dims(3), &out).expect("no fault");
    assert!(got[..4].iter().all(|v| v.is_finite()) && got[4..].iter().all(|v| v.is_nan()));
}

#[test]
fn what_cannot_be_done_is_refused() {
    let Some(device) = emulator::device() else { return };
    let host = Host::new(2, 1, [2, 3]);
    let images = host.upload(&device);
    let clock = Clock::new(&device, 0, 0).expect("a clock");
    let mut out = unwritten::<bf16>(&device, dense_len(host.dims(2)));
    let mut labels = CudaBuffer::from_slice(&device, &[0; 2]).expect("a copy");
    let mut run = |augment: Augment, order: &[i32]| -> Result<(), CudaError> {
        let order = CudaBuffer::from_slice(&device, order)?;
        augment::batch(&augment, &images, &order, &clock, &mut out, &mut labels, None)
    };
    for (augment, order, part) in [
        (NOTHING, &[0, 1, 0][..], "3 places for batches of 2"),
        (NOTHING, &[], "0 places for batches of 2"),
        (Augment { crop_padding: 2, ..NOTHING }, &[0, 1], "2 for [2, 3]"),
        (Augment { std: [0.0; 4], ..NOTHING }, &[0, 1], "std [0.0, 0.0, 0.0, 0.0]"),
        (Augment { mean: [f32::NAN; 4], ..NOTHING }, &[0, 1], "mean [NaN"),
    ] {
        let error = run(augment, order).expect_err(part).to_string();
        assert!(error.contains(part), "no {part:?} in {error:?}");
    }
    let order = CudaBuffer::from_slice(&device, &[0, 1]).expect("a copy");
    let fractions = CudaBuffer::from_slice(&device, &[0.5; 2]).expect("a copy");
    let mut fraction = CudaBuffer::from_slice(&device, &[0.5]).expect("a copy");
    let mut others = CudaBuffer::from_slice(&device, &[0; 2]).expect("a copy");
    let mix = Mix {
        partners: &order,
        fractions: &fractions,
        labels: &mut others,
        fraction: &mut fraction,
    };
    let error = augment::batch(&NOTHING, &images, &order, &clock, &mut out, &mut labels, Some(mix));
    let error = error.expect_err("two fractions").to_string();
    assert!(error.contains("`fractions` has 2 elements, its dims need 1"), "{error}");
    let [bytes, labels] = [5, 1];
    let bytes = CudaBuffer::from_slice(&device, &vec![0; bytes]).expect("a copy");
    let labels = CudaBuffer::from_slice(&device, &vec![0; labels]).expect("a copy");
    let error = Images::new(bytes, labels, 5, [1, 1]).expect_err("5 channels").to_string();
    assert!(error.contains("1 to 4 channels"), "{error}");
}
