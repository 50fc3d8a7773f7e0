//! What the tests share: random values, gates, and the distance to the reference.

use gaternet_kernels::cuda::Activation;
use gaternet_kernels::cuda::layout;
use gaternet_kernels::cuda::{CudaBuffer, CudaDevice, bf16};
use gaternet_kernels::{ActiveFilters, PlaneDims};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The purposes of one stream in random.cuh: 0 is noise, 1 are coins, and the last is for layers.
pub(crate) const PURPOSES: u32 = 4;

/// `len` values from -1 to 1 that bf16 holds exactly, so that the reference computes with the same.
pub(crate) fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| bf16::from_f32(rng.random_range(-1.0..1.0)).to_f32()).collect()
}

/// Gates (N, C) of 0 and 1 with about this fraction of ones.
pub(crate) fn gates(seed: u64, batch: usize, filters: usize, density: f32) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..batch * filters)
        .map(|_| f32::from(u8::from(rng.random_range(0.0..1.0) < density)))
        .collect()
}

pub(crate) fn lists(gates: &[f32], filters: usize) -> ActiveFilters {
    ActiveFilters::from_columns(gates, filters, 0, filters).expect("whole rows")
}

pub(crate) fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

pub(crate) fn upload(device: &CudaDevice, values: &[f32]) -> CudaBuffer<f32> {
    CudaBuffer::from_slice(device, values).expect("a copy to the device")
}

/// What activations and weights are made of, with the bound of the relative L2 error of results.
pub(crate) trait Real: Activation {
    const BOUND: f64;
    fn from_f32(value: f32) -> Self;
    fn to_f32(self) -> f32;
}

impl Real for bf16 {
    /// Rounding the result alone gives 1.7e-3.
    const BOUND: f64 = 4e-3;
    fn from_f32(value: f32) -> Self {
        bf16::from_f32(value)
    }
    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
}

impl Real for f32 {
    const BOUND: f64 = 1e-5;
    fn from_f32(value: f32) -> Self {
        value
    }
    fn to_f32(self) -> f32 {
        self
    }
}

pub(crate) fn upload_as<T: Real>(device: &CudaDevice, values: &[f32]) -> CudaBuffer<T> {
    let values: Vec<T> = values.iter().copied().map(T::from_f32).collect();
    CudaBuffer::from_slice(device, &values).expect("a copy to the device")
}

/// A buffer whose values are NaN until a kernel writes them.
pub(crate) fn unwritten<T: Real>(device: &CudaDevice, len: usize) -> CudaBuffer<T> {
    upload_as(device, &vec![f32::NAN; len])
}

/// The values, or what the emulator reports if a kernel failed.
pub(crate) fn download<T: Real>(buffer: &CudaBuffer<T>) -> Result<Vec<f32>, String> {
    let values = buffer.to_vec().map_err(|error| error.to_string())?;
    Ok(values.into_iter().map(T::to_f32).collect())
}

/// `Err` if the relative L2 error of `got` is above `bound`, or either holds a NaN.
pub(crate) fn close(what: &str, got: &[f32], want: &[f64], bound: f64) -> Result<(), String> {
    assert_eq!(got.len(), want.len(), "{what}: lengths differ");
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let difference = squares(&mut got.iter().zip(want).map(|(&g, &w)| f64::from(g) - w));
    let norm = squares(&mut want.iter().copied());
    let error = (difference / norm.max(1e-30)).sqrt();
    if error <= bound {
        return Ok(());
    }
    let far = |(&g, &w): (&f32, &f64)| {
        let distance = (f64::from(g) - w).abs();
        distance.is_nan() || distance > 10.0 * bound * (w.abs() + 0.1)
    };
    let first = got.iter().zip(want).position(far);
    let entry =
        first.map_or(String::new(), |i| format!("; entry {i} is {}, not {}", got[i], want[i]));
    Err(format!("{what}: relative error {error:.2e} is above {bound:.0e}{entry}"))
}

/// A dense activation (N, P, stride(C)) of (N, C, P).
pub(crate) fn upload_dense<T: Real>(
    device: &CudaDevice,
    dims: PlaneDims,
    host: &[f32],
) -> CudaBuffer<T> {
    upload_as(device, &layout::pack_dense(dims.channels, dims.plane, host))
}

/// (N, C, P) of a dense activation; `Err` if its padding is not 0.
pub(crate) fn download_dense<T: Real>(
    dims: PlaneDims,
    buffer: &CudaBuffer<T>,
) -> Result<Vec<f32>, String> {
    let packed = download(buffer)?;
    let stride = layout::stride(dims.channels).max(1);
    let padding = packed.iter().enumerate().filter(|(i, _)| i % stride >= dims.channels);
    if let Some((i, value)) = padding.into_iter().find(|(_, value)| value.to_bits() != 0) {
        return Err(format!("the padding at {i} is {value}"));
    }
    Ok(layout::unpack_dense(dims.channels, dims.plane, &packed))
}

/// Length of a dense activation.
pub(crate) fn dense_len(dims: PlaneDims) -> usize {
    dims.batch * dims.plane * layout::stride(dims.channels)
}

/// Awkward sizes of dense activations: one of everything, odd planes, channels beside a multiple of
/// 16 and of a block.
pub(crate) const PLANES: [PlaneDims; 7] = [
    PlaneDims { batch: 5, channels: 1, plane: 1 },
    PlaneDims { batch: 1, channels: 3, plane: 35 },
    PlaneDims { batch: 3, channels: 17, plane: 49 },
    PlaneDims { batch: 9, channels: 16, plane: 5 },
    PlaneDims { batch: 2, channels: 40, plane: 300 },
    PlaneDims { batch: 2, channels: 250, plane: 9 },
    PlaneDims { batch: 2, channels: 300, plane: 70 },
];
