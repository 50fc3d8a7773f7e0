use gaternet_kernels::Conv2dDims;
use gaternet_kernels::cuda::conv2d::{self, Epilogue, GateColumns};
use gaternet_kernels::cuda::layout::{self, Rows};
use gaternet_kernels::cuda::{CudaDevice, LiveFilters};
use gaternet_kernels::reference;

use crate::check::{
    BF16, close, download_bf16, gates, lists, unwritten, upload, upload_bf16, values, widen,
};
use crate::emulator;

/// (N, C, H, W), (F, KH, KW), stride, padding.
type Case = ([usize; 4], [usize; 3], [usize; 2], [usize; 2]);

/// Awkward sizes: one of everything, odd maps, channels that are no multiple of 16, all kinds of strides.
const CASES: [Case; 10] = [
    ([1, 1, 1, 1], [1, 1, 1], [1, 1], [0, 0]),
    ([2, 3, 7, 5], [5, 3, 3], [1, 1], [1, 1]),
    ([1, 16, 8, 8], [16, 3, 3], [1, 1], [1, 1]),
    ([2, 17, 9, 6], [33, 3, 3], [2, 2], [1, 1]),
    ([1, 40, 6, 7], [70, 1, 1], [1, 1], [0, 0]),
    ([2, 20, 8, 8], [9, 1, 1], [2, 2], [0, 0]),
    ([1, 7, 11, 4], [18, 5, 2], [3, 1], [2, 1]),
    ([1, 3, 15, 15], [24, 7, 7], [2, 2], [3, 3]),
    ([1, 65, 5, 5], [130, 3, 3], [1, 1], [1, 1]),
    ([1, 32, 13, 14], [8, 3, 3], [1, 1], [0, 0]),
];

fn dims_of((input, [filters, kh, kw], stride, padding): Case) -> Conv2dDims {
    Conv2dDims::new(input, [filters, input[1], kh, kw], stride, padding).expect("valid")
}

/// A pass of one convolution with random values, run on the device and by the reference.
pub(crate) struct Trial {
    pub(crate) dims: Conv2dDims,
    pub(crate) rows: Rows,
    /// `None` runs without lists.
    pub(crate) density: Option<f32>,
}

impl Trial {
    fn name(&self, pass: &str) -> String {
        let Trial { dims, rows, density } = self;
        format!("{pass}, rows are {rows:?}, density {density:?}, {dims:?}")
    }

    fn gates(&self) -> Vec<f32> {
        let rows = self.rows.count(&self.dims);
        gates(7, self.dims.batch(), rows, self.density.unwrap_or(1.0))
    }

    fn live(&self, device: &CudaDevice) -> Option<LiveFilters> {
        self.density?;
        let rows = self.rows.count(&self.dims);
        let mut live = LiveFilters::empty(device, self.dims.batch(), rows).expect("lists");
        live.refill(&upload(device, &self.gates()), rows.max(1), 0).expect("a launch");
        Some(live)
    }

    /// An activation of the side `of` as the device has it.
    fn pack(&self, of: Rows, plane: usize, host: &[f32]) -> Vec<f32> {
        if of == self.rows && self.density.is_some() {
            let live = lists(&self.gates(), self.rows.count(&self.dims));
            return layout::pack_compact(&live, plane, host);
        }
        layout::pack_dense(of.count(&self.dims), plane, host)
    }

    fn unpack(&self, of: Rows, plane: usize, device: &[f32]) -> Result<Vec<f32>, String> {
        if of == self.rows && self.density.is_some() {
            let live = lists(&self.gates(), self.rows.count(&self.dims));
            let host = layout::unpack_compact(&live, plane, device);
            let again = layout::pack_compact(&live, plane, &host);
            let same = again.iter().zip(device).all(|(a, d)| a == d || (a.is_nan() && d.is_nan()));
            return if same { Ok(host) } else { Err("wrote beside the live filters".to_owned()) };
        }
        let channels = of.count(&self.dims);
        let host = layout::unpack_dense(channels, plane, device);
        let same = layout::pack_dense(channels, plane, &host) == device;
        if same || host.iter().any(|v| v.is_nan()) {
            Ok(host)
        } else {
            Err("padding is not 0".to_owned())
        }
    }

    fn reference_lists(&self) -> [Option<gaternet_kernels::ActiveFilters>; 2] {
        let live = self.density.map(|_| lists(&self.gates(), self.rows.count(&self.dims)));
        match self.rows {
            Rows::Filters => [live, None],
            Rows::Channels => [None, live],
        }
    }

    pub(crate) fn forward(&self, device: &CudaDevice) -> Result<(), String> {
        let dims = &self.dims;
        let (input, weight) = (values(1, dims.input_len()), values(2, dims.weight_len()));
        let filters = dims.out_channels();
        let (scale, bias) = (values(3, filters), values(4, filters));
        let gate = self.gates();
        let gated = self.rows == Rows::Filters;
        let columns = upload(device, &gate);
        let mut output =
            unwritten(device, dims.batch() * dims.out_plane() * layout::stride(filters));
        let (scale_buffer, bias_buffer) = (upload(device, &scale), upload(device, &bias));
        let epilogue = Epilogue {
            scale: Some(&scale_buffer),
            bias: Some(&bias_buffer),
            gates: gated.then_some(GateColumns { gates: &columns, stride: filters, first: 0 }),
            residual: None,
            relu: true,
        };
        conv2d::forward(
            dims,
            self.rows,
            self.live(device).as_ref(),
            &upload_bf16(device, &self.pack(Rows::Channels, dims.in_plane(), &input)),
            &upload_bf16(device, &self.rows.pack_weight(dims, &weight)),
            epilogue,
            &mut output,
        )
        .map_err(|error| error.to_string())?;

        let [filter_lists, channel_lists] = self.reference_lists();
        let sums = reference::conv2d::forward(
            dims,
            filter_lists.as_ref(),
            channel_lists.as_ref(),
            &widen(&input),
            &widen(&weight),
        );
        let (plane, per_sample) = (dims.out_plane().max(1), filters * dims.out_plane().max(1));
        let want = (0..sums.len()).map(|i| {
            let f = i / plane % filters;
            let g = if gated { gate[i / per_sample * filters + f] } else { 1.0 };
            (f64::from(g) * (sums[i] * f64::from(scale[f]) + f64::from(bias[f]))).max(0.0)
        });
        let want: Vec<f64> = want.collect();
        let got = self.unpack(Rows::Filters, dims.out_plane(), &download_bf16(&output)?)?;
        close(&self.name("forward"), &got, &want, BF16)
    }

    pub(crate) fn backward_input(&self, device: &CudaDevice) -> Result<(), String> {
        let dims = &self.dims;
        let (grad, weight) = (values(5, dims.output_len()), values(2, dims.weight_len()));
        let channels = dims.in_channels();
        let mut grad_input =
            unwritten(device, dims.batch() * dims.in_plane() * layout::stride(channels));
        conv2d::backward_input(
            dims,
            self.rows,
            self.live(device).as_ref(),
            &upload_bf16(device, &self.pack(Rows::Filters, dims.out_plane(), &grad)),
            &upload_bf16(device, &self.rows.pack_weight(dims, &weight)),
            Epilogue::default(),
            &mut grad_input,
        )
        .map_err(|error| error.to_string())?;
        let [filter_lists, channel_lists] = self.reference_lists();
        let want = reference::conv2d::backward_input(
            dims,
            filter_lists.as_ref(),
            channel_lists.as_ref(),
            &widen(&grad),
            &widen(&weight),
        );
        let got = self.unpack(Rows::Channels, dims.in_plane(), &download_bf16(&grad_input)?)?;
        close(&self.name("backward input"), &got, &want, BF16)
    }
}

fn trials() -> impl Iterator<Item = Trial> {
    CASES.into_iter().map(dims_of).flat_map(|dims| {
        [Rows::Filters, Rows::Channels].into_iter().flat_map(move |rows| {
            [None, Some(0.0), Some(0.1), Some(0.5), Some(1.0)].map(|density| Trial {
                dims,
                rows,
                density,
            })
        })
    })
}

#[test]
fn forward_agrees_with_the_reference() {
    let Some(device) = emulator::device() else { return };
    for trial in trials() {
        trial.forward(&device).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_gradient_to_the_input_agrees_with_the_reference() {
    let Some(device) = emulator::device() else { return };
    for trial in trials() {
        trial.backward_input(&device).unwrap_or_else(|error| panic!("{error}"));
    }
}
