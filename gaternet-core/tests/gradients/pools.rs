//! Pools.

use gaternet_core::ops;
use gaternet_kernels::dims::{PlaneDims, PoolDims};
use gaternet_kernels::reference::pool as reference;

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
            |at| reference::global_avg_forward(dims, &at[0]),
        );
    }
}

#[test]
fn avg_pool2d() {
    let cases = [
        ([2, 3, 8, 8], [2, 2], [2, 2]),
        ([1, 1, 7, 5], [3, 2], [2, 1]),
        ([2, 17, 4, 4], [4, 4], [4, 4]),
        ([1, 2, 5, 5], [1, 1], [2, 2]),
    ];
    for (x, kernel, stride) in cases {
        let dims = PoolDims::new(x, kernel, stride).expect("the cases are valid");
        Check {
            op: "avg_pool2d",
            case: format!("{x:?}, kernel {kernel:?}, stride {stride:?}"),
            inputs: vec![("x", random(&x, 1))],
            tolerance: 1e-5,
        }
        .run(
            |inputs| ops::avg_pool2d(&inputs[0], kernel, stride),
            |at| reference::avg_forward(&dims, &at[0]),
        );
    }
    assert!(ops::avg_pool2d(&random(&[1, 1, 2, 2], 1), [3, 3], [1, 1]).is_err());
}
