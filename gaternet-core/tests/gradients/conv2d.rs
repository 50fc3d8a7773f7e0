//! Convolutions: strides, odd sizes, 1x1 kernels, channels that fill no vector, active lists.

use gaternet_core::ops::{self, Active, Conv2dOptions};
use gaternet_kernels::Conv2dDims;
use gaternet_kernels::reference::conv2d as reference;

use crate::check::{Check, DENSITIES, random};

struct Case {
    x: [usize; 4],
    weight: [usize; 4],
    stride: [usize; 2],
    padding: [usize; 2],
}

impl Case {
    fn dims(&self) -> Conv2dDims {
        Conv2dDims::new(self.x, self.weight, self.stride, self.padding)
            .expect("the cases are valid")
    }

    fn options(&self) -> Conv2dOptions {
        Conv2dOptions::default().with_stride(self.stride).with_padding(self.padding)
    }

    fn check(&self, active: &str) -> Check<'static> {
        let Case { x, weight, stride, padding } = self;
        Check {
            op: "conv2d",
            case: format!("{x:?} * {weight:?}, stride {stride:?}, padding {padding:?}{active}"),
            inputs: vec![("x", random(x, 1)), ("weight", random(weight, 2))],
            tolerance: 2e-5,
        }
    }
}

#[rustfmt::skip]
const CASES: [Case; 11] = [
    Case { x: [1, 1, 3, 3],   weight: [1, 1, 3, 3],   stride: [1, 1], padding: [1, 1] },
    Case { x: [2, 3, 12, 12], weight: [16, 3, 3, 3],  stride: [1, 1], padding: [1, 1] },
    Case { x: [2, 16, 8, 8],  weight: [16, 16, 3, 3], stride: [1, 1], padding: [1, 1] },
    Case { x: [2, 16, 8, 8],  weight: [32, 16, 3, 3], stride: [2, 2], padding: [1, 1] },
    Case { x: [3, 5, 7, 5],   weight: [4, 5, 3, 3],   stride: [1, 1], padding: [1, 1] },
    Case { x: [2, 17, 9, 7],  weight: [19, 17, 3, 3], stride: [2, 2], padding: [1, 1] },
    Case { x: [2, 6, 7, 6],   weight: [3, 6, 1, 1],   stride: [1, 1], padding: [0, 0] },
    Case { x: [2, 16, 9, 9],  weight: [33, 16, 1, 1], stride: [2, 2], padding: [0, 0] },
    Case { x: [2, 7, 8, 8],   weight: [9, 7, 3, 3],   stride: [1, 1], padding: [0, 0] },
    Case { x: [1, 4, 11, 10], weight: [6, 4, 5, 2],   stride: [2, 3], padding: [2, 1] },
    Case { x: [1, 4, 2, 2],   weight: [5, 4, 3, 3],   stride: [2, 2], padding: [1, 1] },
];

#[test]
fn dense() {
    for case in CASES {
        let dims = case.dims();
        case.check("").run(
            |inputs| ops::conv2d(&inputs[0], &inputs[1], case.options()),
            |at| reference::forward(&dims, None, None, &at[0], &at[1]),
        );
    }
}

#[test]
fn gated() {
    for case in CASES.iter().filter(|case| case.x[1] > 3) {
        let dims = case.dims();
        for filters in DENSITIES {
            for channels in DENSITIES {
                let active = Active::default()
                    .with_filters(Some(filters.active(dims.batch(), dims.out_channels())))
                    .with_channels(Some(channels.active(dims.batch(), dims.in_channels())));
                case.check(&format!(", filters {filters:?}, channels {channels:?}")).run(
                    |inputs| {
                        ops::conv2d_gated(&inputs[0], &inputs[1], case.options(), active.clone())
                    },
                    |at| {
                        let (filters, channels) =
                            (active.filters.as_deref(), active.channels.as_deref());
                        reference::forward(&dims, filters, channels, &at[0], &at[1])
                    },
                );
            }
        }
    }
}

#[test]
fn misfits_are_errors_with_the_shapes() {
    let (x, weight) = (random(&[2, 3, 8, 8], 1), random(&[4, 5, 3, 3], 2));
    let error = ops::conv2d(&x, &weight, Conv2dOptions::default()).expect_err("3 is not 5");
    let text = error.to_string();
    assert!(text.contains("[2, 3, 8, 8]") && text.contains("[4, 5, 3, 3]"), "{text}");
    let error = ops::conv2d(&random(&[3, 8], 1), &weight, Conv2dOptions::default());
    let text = error.expect_err("rank 2").to_string();
    assert!(text.contains("(3, 8)"), "{text}");
}
