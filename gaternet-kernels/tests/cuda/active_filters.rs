use gaternet_kernels::ActiveFilters;
use gaternet_kernels::cuda::{CudaActiveFilters, CudaBuffer};

use crate::check::{gates, upload};
use crate::emulator;

#[test]
fn the_lists_are_those_of_the_host() {
    let Some(device) = emulator::device() else { return };
    for (batch, stride, first, filters) in
        [(1, 1, 0, 1), (3, 40, 3, 33), (2, 64, 0, 64), (5, 7, 7, 0), (0, 4, 0, 4), (2, 300, 1, 257)]
    {
        for density in [0.0, 0.1, 0.5, 1.0] {
            let mut values = gates(1, batch, stride, density);
            if let Some(value) = values.get_mut(first) {
                *value = f32::NAN;
            }
            let want = ActiveFilters::from_columns(&values, stride, first, filters);
            let mut active = CudaActiveFilters::empty(&device, batch, filters).expect("lists");
            active.refill(&upload(&device, &values), stride, first).expect("a launch");
            let got = active.to_host().expect("a copy");
            if filters > 0 {
                assert_eq!(Some(got), want, "{filters} filters at {density}");
            }
        }
    }
}

#[test]
fn gates_that_do_not_fit_are_refused() {
    let Some(device) = emulator::device() else { return };
    let mut active = CudaActiveFilters::empty(&device, 2, 4).expect("lists");
    let gates = CudaBuffer::zeros(&device, 8).expect("a buffer");
    let error = active.refill(&gates, 4, 1).expect_err("columns beyond the row");
    assert!(error.to_string().contains("columns 1.. of 4 filters in rows of 4"), "{error}");
    let error = active.refill(&gates, 5, 0).expect_err("too few gates");
    assert!(error.to_string().contains("`gates` has 8 elements, its dims need 10"), "{error}");
}
