//! Pools.

use gaternet_core::ops::{self, Pool2dOptions};
use gaternet_kernels::dims::{PlaneDims, PoolDims};
use gaternet_kernels::reference::{avg_pool2d, global_avg_pool, max_pool2d};

use crate::check::{Check, random};

#[test]
fn global_avg_pool() {
    for x in [[1, 1, 1, 1], [2, 3, 5, 3], [3, 17, 4, 4], [2, 16, 8, 8]] {
        let dims = PlaneDims { batch: x[0], channels: x[1], plane: x[2] * x[3] };
        Check {
            op: "global_avg_pool",
            case: format!("{x:?}"),
            inputs: vec![("x", random(&x, 1))],
            tolerance: 1e-5,
        }
        .run(
            |inputs| ops::global_avg_pool(&inputs[0]),
            |at| global_avg_pool::forward(dims, &at[0]),
        );
    }
}

/// Kernel, stride and padding that overlap, leave gaps and reach over the border.
const WINDOWS: [([usize; 4], Pool2dOptions); 6] = [
    ([2, 3, 8, 8], windows([2, 2], [2, 2], [0, 0])),
    ([1, 1, 7, 5], windows([3, 2], [2, 1], [0, 0])),
    ([2, 17, 4, 4], windows([4, 4], [4, 4], [0, 0])),
    ([1, 2, 5, 5], windows([1, 1], [2, 2], [0, 0])),
    ([2, 3, 7, 6], windows([3, 3], [2, 2], [1, 1])),
    ([1, 2, 4, 5], windows([4, 3], [1, 3], [2, 0])),
];

const fn windows(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Pool2dOptions {
    Pool2dOptions::new(kernel, stride, padding)
}

fn dims(x: [usize; 4], options: Pool2dOptions) -> PoolDims {
    let Pool2dOptions { kernel, stride, padding, .. } = options;
    PoolDims::new(x, kernel, stride, padding).expect("the cases are valid")
}

#[test]
fn avg_pool2d() {
    for (x, options) in WINDOWS {
        let dims = dims(x, options);
        Check {
            op: "avg_pool2d",
            case: format!("{x:?}, {options:?}"),
            inputs: vec![("x", random(&x, 1))],
            tolerance: 1e-5,
        }
        .run(
            |inputs| ops::avg_pool2d(&inputs[0], options),
            |at| avg_pool2d::forward(&dims, &at[0]),
        );
    }
}

#[test]
fn max_pool2d() {
    for (x, options) in WINDOWS {
        let dims = dims(x, options);
        Check {
            op: "max_pool2d",
            case: format!("{x:?}, {options:?}"),
            inputs: vec![("x", random(&x, 1))],
            tolerance: 1e-5,
        }
        .run(
            |inputs| ops::max_pool2d(&inputs[0], options),
            |at| max_pool2d::forward(&dims, &at[0]),
        );
    }
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let x = random(&[1, 1, 2, 2], 1);
    for options in [Pool2dOptions::square(3, 1, 0), Pool2dOptions::square(2, 0, 0)] {
        for pool in [ops::avg_pool2d, ops::max_pool2d] {
            assert!(pool(&x, options).is_err(), "{options:?}");
        }
    }
}
