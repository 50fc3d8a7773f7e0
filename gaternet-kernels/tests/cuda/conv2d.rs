use gaternet_kernels::cuda::conv2d::{self, Backward, Forward, GateColumns, GateGradient};
use gaternet_kernels::cuda::layout::{self, Rows};
use gaternet_kernels::cuda::{CudaActiveFilters, CudaBuffer, CudaDevice, Products, bf16};
use gaternet_kernels::{ActiveFilters, Conv2dDims, reference};

use crate::check::{
    Real, close, download, gates, lists, unwritten, upload, upload_as, values, widen,
};
use crate::emulator;

/// (N, C, H, W), (F, KH, KW), stride, padding.
pub(crate) type Case = ([usize; 4], [usize; 3], [usize; 2], [usize; 2]);

/// Awkward sizes: one of everything, odd maps, channels that are no multiple of 16, all kinds of
/// strides.
const CASES: [Case; 10] = [
    ([1, 1, 1, 1], [1, 1, 1], [1, 1], [0, 0]),
    ([2, 3, 7, 5], [5, 3, 3], [1, 1], [1, 1]),
    ([1, 16, 8, 8], [16, 3, 3], [1, 1], [1, 1]),
    ([2, 17, 9, 6], [33, 3, 3], [2, 2], [1, 1]),
    ([1, 40, 6, 7], [70, 1, 1], [1, 1], [0, 0]),
    ([2, 20, 8, 8], [9, 1, 1], [2, 2], [0, 0]),
    ([1, 7, 11, 4], [18, 5, 2], [3, 1], [2, 1]),
    ([1, 3, 15, 15], [24, 7, 7], [2, 2], [3, 3]),
    ([3, 65, 5, 5], [130, 3, 3], [1, 1], [1, 1]),
    ([1, 32, 13, 14], [8, 3, 3], [1, 1], [0, 0]),
];

/// One convolution with random values, to be run on the device and by the reference.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trial {
    dims: Conv2dDims,
    rows: Rows,
    /// Fraction of active rows; `None` runs without lists.
    density: Option<f32>,
}

impl Trial {
    pub(crate) fn new(case: Case, rows: Rows, density: Option<f32>) -> Trial {
        let (input, [filters, kh, kw], stride, padding) = case;
        let weight = [filters, input[1], kh, kw];
        Trial {
            dims: Conv2dDims::new(input, weight, stride, padding).expect("valid"),
            rows,
            density,
        }
    }

    fn rows(&self) -> usize {
        self.rows.count(&self.dims)
    }

    /// Of the rows, (N, R): some soft.
    fn gates(&self) -> Vec<f32> {
        let mut gates = gates(7, self.dims.batch(), self.rows(), self.density.unwrap_or(0.7));
        gates.iter_mut().step_by(3).for_each(|gate| *gate *= 0.75);
        gates
    }

    fn active(&self, device: &CudaDevice) -> Option<CudaActiveFilters> {
        self.density?;
        let mut active =
            CudaActiveFilters::empty(device, self.dims.batch(), self.rows()).expect("lists");
        active.refill(&upload(device, &self.gates()), self.rows(), 0).expect("a launch");
        Some(active)
    }

    /// The lists on the host, if there are lists.
    fn host_lists(&self) -> Option<ActiveFilters> {
        self.density.map(|_| lists(&self.gates(), self.rows()))
    }

    /// The same as lists of (filters, channels).
    fn reference_lists(&self) -> (Option<ActiveFilters>, Option<ActiveFilters>) {
        match self.rows {
            Rows::Filters => (self.host_lists(), None),
            Rows::Channels => (None, self.host_lists()),
        }
    }

    /// An activation of the side `of` as the device has it.
    fn pack(&self, of: Rows, plane: usize, host: &[f32]) -> Vec<f32> {
        match self.host_lists() {
            Some(active) if of == self.rows => layout::pack_compact(&active, plane, host),
            _ => layout::pack_dense(of.count(&self.dims), plane, host),
        }
    }

    /// The same back, if it is written where it must be and nowhere else.
    fn unpack(&self, of: Rows, plane: usize, device: &[f32]) -> Result<Vec<f32>, String> {
        let host = match self.host_lists() {
            Some(active) if of == self.rows => layout::unpack_compact(&active, plane, device),
            _ => layout::unpack_dense(of.count(&self.dims), plane, device),
        };
        let again = self.pack(of, plane, &host);
        let same = |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan());
        if again.iter().zip(device).all(same) {
            Ok(host)
        } else {
            Err("padding is wrong".to_owned())
        }
    }

    /// Gradient of the gates must be of active ones, or of all.
    fn is_active(&self, i: usize) -> bool {
        self.density.is_none() || self.gates()[i] != 0.0
    }

    pub(crate) fn forward<T: Real>(&self, device: &CudaDevice) -> Result<(), String> {
        let dims = &self.dims;
        let (filters, plane) = (dims.out_channels(), dims.out_plane());
        let (input, weight) = (values(1, dims.input_len()), values(2, dims.weight_len()));
        let (scale, bias) = (values(3, filters), values(4, filters));
        let residual = values(5, dims.output_len());
        // Rows that are channels have gates of their own; the filters' are then some others.
        let gate = match self.rows {
            Rows::Filters => self.gates(),
            Rows::Channels => gates(8, dims.batch(), filters, 0.5),
        };
        // The columns of the layer lie among those of others.
        let (stride, first) = (filters + 5, 3);
        let mut rows_of_gates = vec![f32::NAN; dims.batch() * stride];
        for n in 0..dims.batch() {
            rows_of_gates[n * stride + first..][..filters]
                .copy_from_slice(&gate[n * filters..][..filters]);
        }
        let gate_buffer = upload(device, &rows_of_gates);
        let (scale_buffer, bias_buffer) = (upload(device, &scale), upload(device, &bias));
        let residual_buffer = upload_as(device, &self.pack(Rows::Filters, plane, &residual));
        let mut output = unwritten::<T>(device, dims.batch() * plane * layout::stride(filters));
        let epilogue = Forward {
            scale: Some(&scale_buffer),
            bias: Some(&bias_buffer),
            gates: Some(GateColumns { gates: &gate_buffer, stride, first }),
            residual: Some(&residual_buffer),
            relu: true,
        };
        conv2d::forward(
            dims,
            self.rows,
            self.active(device).as_ref(),
            &upload_as(device, &self.pack(Rows::Channels, dims.in_plane(), &input)),
            &upload_as(device, &self.rows.pack_weight(dims, &weight)),
            epilogue,
            &mut output,
        )
        .map_err(|error| error.to_string())?;

        let (of_filters, of_channels) = self.reference_lists();
        let (x, w) = (widen(&input), widen(&weight));
        let sums =
            reference::conv2d::forward(dims, of_filters.as_ref(), of_channels.as_ref(), &x, &w);
        let want = sums.iter().enumerate().map(|(i, sum)| {
            let f = i / plane % filters;
            let g = f64::from(gate[i / plane]);
            if self.rows == Rows::Filters && !self.is_active(i / plane) {
                return 0.0; // not computed, so without a residual either
            }
            let value = g * (sum * f64::from(scale[f]) + f64::from(bias[f]));
            (value + f64::from(residual[i])).max(0.0)
        });
        let got = self.unpack(Rows::Filters, plane, &download(&output)?)?;
        close(&format!("forward of {self:?}"), &got, &want.collect::<Vec<_>>(), T::BOUND)
    }

    pub(crate) fn backward_input<T: Real>(&self, device: &CudaDevice) -> Result<(), String> {
        let dims = &self.dims;
        let (channels, plane) = (dims.in_channels(), dims.in_plane());
        let (grad, weight) = (values(5, dims.output_len()), values(2, dims.weight_len()));
        let (residual, inner) = (values(6, dims.input_len()), values(9, dims.input_len()));
        let gate = match self.rows {
            Rows::Channels => self.gates(),
            Rows::Filters => gates(8, dims.batch(), channels, 0.5),
        };
        let gate_buffer = upload(device, &gate);
        let residual_buffer = upload_as(device, &self.pack(Rows::Channels, plane, &residual));
        let inner_buffer = upload_as(device, &self.pack(Rows::Channels, plane, &inner));
        let mut grad_input =
            unwritten::<T>(device, dims.batch() * plane * layout::stride(channels));
        let (stride, first) = (channels + 2, 1);
        let mut of_gates = upload(device, &vec![7.0; dims.batch() * stride]);
        let mut scratch = upload(device, &vec![f32::NAN; conv2d::gate_gradient_scratch_len(dims)]);
        let epilogue = Backward {
            residual: Some(&residual_buffer),
            inner: Some(&inner_buffer),
            gates: Some(GateColumns { gates: &gate_buffer, stride: channels, first: 0 }),
            relu: true,
            gate_gradient: Some(GateGradient {
                scratch: &mut scratch,
                gradient: &mut of_gates,
                stride,
                first,
            }),
        };
        conv2d::backward_input(
            dims,
            self.rows,
            self.active(device).as_ref(),
            &upload_as(device, &self.pack(Rows::Filters, dims.out_plane(), &grad)),
            &upload_as(device, &self.rows.pack_weight(dims, &weight)),
            epilogue,
            &mut grad_input,
        )
        .map_err(|error| error.to_string())?;

        let (of_filters, of_channels) = self.reference_lists();
        let (dy, w) = (widen(&grad), widen(&weight));
        let mut want = reference::conv2d::backward_input(
            dims,
            of_filters.as_ref(),
            of_channels.as_ref(),
            &dy,
            &w,
        );
        let mut want_of_gates = vec![0.0; dims.batch() * channels];
        for (i, value) in want.iter_mut().enumerate() {
            let active = self.rows == Rows::Filters || self.is_active(i / plane);
            let t = if active { *value + f64::from(residual[i]) } else { 0.0 };
            want_of_gates[i / plane] += t * f64::from(inner[i]);
            *value = if inner[i] > 0.0 { f64::from(gate[i / plane]) * t } else { 0.0 };
        }
        let got = self.unpack(Rows::Channels, plane, &download(&grad_input)?)?;
        close(&format!("gradient to the input of {self:?}"), &got, &want, T::BOUND)?;

        let got = download(&of_gates)?;
        let columns = |i: usize| (i % stride).checked_sub(first).filter(|&c| c < channels);
        let beside = got.iter().enumerate().filter(|&(i, _)| columns(i).is_none());
        if beside.into_iter().any(|(_, &value)| value != 7.0) {
            return Err("the gradient of other gates was written".to_owned());
        }
        let got: Vec<f32> = got
            .iter()
            .enumerate()
            .filter(|&(i, _)| columns(i).is_some())
            .map(|(_, &v)| v)
            .collect();
        // Sums in f32, of products of exact values: 1e-5 in either case.
        close(&format!("gradient to the gates of {self:?}"), &got, &want_of_gates, 1e-5)
    }

    pub(crate) fn backward_weight<T: Real>(&self, device: &CudaDevice) -> Result<(), String> {
        let dims = &self.dims;
        let (input, grad) = (values(1, dims.input_len()), values(5, dims.output_len()));
        let len = conv2d::backward_weight_scratch_len(device, dims, self.rows);
        let mut scratch = upload(device, &vec![f32::NAN; len]);
        let mut grad_weight = upload(device, &vec![f32::NAN; self.rows.weight_len(dims)]);
        conv2d::backward_weight::<T>(
            dims,
            self.rows,
            self.active(device).as_ref(),
            &upload_as(device, &self.pack(Rows::Channels, dims.in_plane(), &input)),
            &upload_as(device, &self.pack(Rows::Filters, dims.out_plane(), &grad)),
            &mut scratch,
            &mut grad_weight,
        )
        .map_err(|error| error.to_string())?;
        let (of_filters, of_channels) = self.reference_lists();
        let (x, dy) = (widen(&input), widen(&grad));
        let want = reference::conv2d::backward_weight(
            dims,
            of_filters.as_ref(),
            of_channels.as_ref(),
            &x,
            &dy,
        );
        let got = download(&grad_weight)?;
        let host = self.rows.unpack_weight(dims, &got);
        if self.rows.pack_weight(dims, &host) != got && !got.iter().any(|value| value.is_nan()) {
            return Err("the padding of the columns is not 0".to_owned());
        }
        close(&format!("gradient to the weight of {self:?}"), &host, &want, 1e-5)
    }
}

/// Runs `pass` for every case, both kinds of rows, and densities from none to all.
fn for_trials(
    cases: &[Case],
    products: Products,
    pass: impl Fn(&Trial, &CudaDevice) -> Result<(), String>,
) {
    let mut options = emulator::options();
    options.products = products;
    let Some(device) = emulator::device_with(options) else { return };
    for &case in cases {
        for rows in [Rows::Filters, Rows::Channels] {
            for density in [None, Some(0.0), Some(0.1), Some(0.5), Some(1.0)] {
                let trial = Trial::new(case, rows, density);
                pass(&trial, &device).unwrap_or_else(|error| panic!("{trial:?}: {error}"));
            }
        }
    }
}

/// Those of which wgmma does at least one pass: all numbers of outputs, several chunks of channels,
/// and maps of which the rectangles cover less or more.
const WGMMA_CASES: [Case; 6] = [
    ([2, 3, 7, 5], [5, 3, 3], [1, 1], [1, 1]),
    ([1, 65, 5, 9], [130, 3, 3], [1, 1], [1, 1]),
    ([1, 100, 9, 17], [66, 3, 3], [1, 1], [1, 1]),
    ([1, 32, 13, 14], [80, 3, 3], [1, 1], [0, 0]),
    ([2, 20, 20, 8], [17, 1, 3], [1, 1], [0, 1]),
    ([1, 17, 6, 20], [100, 5, 5], [1, 1], [2, 2]),
];

#[test]
fn forward_agrees_with_the_reference() {
    for_trials(&CASES, Products::MmaSync, Trial::forward::<bf16>);
}

#[test]
fn forward_with_wgmma_agrees_with_the_reference() {
    for_trials(&WGMMA_CASES, Products::Wgmma, Trial::forward::<bf16>);
}

#[test]
fn forward_in_f32_agrees_with_the_reference() {
    for_trials(&CASES, Products::Auto, Trial::forward::<f32>);
}

#[test]
fn the_gradients_to_input_and_gates_agree_with_the_reference() {
    for_trials(&CASES, Products::MmaSync, Trial::backward_input::<bf16>);
}

#[test]
fn the_gradients_to_input_and_gates_with_wgmma_agree_with_the_reference() {
    for_trials(&WGMMA_CASES, Products::Wgmma, Trial::backward_input::<bf16>);
}

#[test]
fn the_gradients_to_input_and_gates_in_f32_agree_with_the_reference() {
    for_trials(&CASES, Products::Auto, Trial::backward_input::<f32>);
}

#[test]
fn the_gradient_to_the_weight_agrees_with_the_reference() {
    for_trials(&CASES, Products::Auto, Trial::backward_weight::<bf16>);
}

#[test]
fn the_gradient_to_the_weight_in_f32_agrees_with_the_reference() {
    for_trials(&CASES, Products::Auto, Trial::backward_weight::<f32>);
}

#[test]
fn an_empty_batch_is_fine() {
    let Some(device) = emulator::device() else { return };
    for rows in [Rows::Filters, Rows::Channels] {
        let trial = Trial::new(([0, 3, 4, 4], [5, 3, 3], [1, 1], [1, 1]), rows, Some(0.5));
        trial.forward::<bf16>(&device).expect("no blocks");
        trial.backward_input::<bf16>(&device).expect("no blocks");
        trial.backward_weight::<bf16>(&device).expect("zeros");
    }
}

/// A layer of three samples and its buffers, of which one can be made wrong.
struct Call {
    active: CudaActiveFilters,
    input: CudaBuffer<bf16>,
    weight: CudaBuffer<bf16>,
    output: CudaBuffer<bf16>,
}

#[test]
fn buffers_that_do_not_fit_are_refused_before_anything_is_launched() {
    let Some(device) = emulator::device() else { return };
    let dims = Conv2dDims::new([3, 5, 4, 4], [20, 5, 3, 3], [1, 1], [1, 1]).expect("valid");
    let zeros = |len| CudaBuffer::<bf16>::zeros(&device, len).expect("a buffer");
    let call = || Call {
        active: CudaActiveFilters::empty(&device, 3, 20).expect("lists"),
        input: zeros(3 * 16 * 16),
        weight: zeros(20 * 9 * 16),
        output: zeros(3 * 16 * 32),
    };
    let run = |mut call: Call, epilogue: Forward<'_, bf16>| {
        let Call { active, input, weight, output } = &mut call;
        let rows = Rows::Filters;
        conv2d::forward(&dims, rows, Some(active), input, weight, epilogue, output)
    };
    run(call(), Forward::default()).expect("all fits");
    let short = upload(&device, &[1.0; 19]);
    let cases = [
        (Call { input: zeros(3 * 16 * 5), ..call() }, Forward::default(), "`input` has 240"),
        (Call { weight: zeros(20 * 9 * 5), ..call() }, Forward::default(), "`weight` has 900"),
        (Call { output: zeros(3 * 16 * 20), ..call() }, Forward::default(), "`output` has 960"),
        (call(), Forward { scale: Some(&short), ..Forward::default() }, "`scale` has 19"),
        (call(), Forward { bias: Some(&short), ..Forward::default() }, "`bias` has 19"),
        (
            Call { active: CudaActiveFilters::empty(&device, 3, 5).expect("lists"), ..call() },
            Forward::default(),
            "active lists 5 filters of 3 samples, expected 20 of 3",
        ),
    ];
    for (call, epilogue, message) in cases {
        let error = run(call, epilogue).expect_err(message).to_string();
        assert!(error.contains(message), "{error} does not say {message}");
    }
}
