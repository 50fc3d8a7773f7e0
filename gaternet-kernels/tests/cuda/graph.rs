use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use gaternet_kernels::cuda::{CudaActiveFilters, CudaBuffer, CudaError, CudaGraph};

use crate::check::{gates, upload};
use crate::emulator;

#[test]
fn a_graph_runs_again_on_new_values_and_keeps_its_buffers() {
    let Some(device) = emulator::device() else { return };
    let mut lists = CudaActiveFilters::empty(&device, 2, 40).expect("lists");
    let mut gate = upload(&device, &gates(1, 2, 40, 0.5));
    lists.refill(&gate, 40, 0).expect("a launch loads the kernel");
    let mut cleared = upload(&device, &[1.0; 8]);
    let dropped = CudaBuffer::<f32>::zeros(&device, 80).expect("a buffer");
    let graph = CudaGraph::capture(&device, || {
        cleared.fill_zeros()?;
        lists.refill(&dropped, 40, 0)?;
        lists.refill(&gate, 40, 0)?;
        drop(dropped);
        Ok(())
    })
    .expect("a graph");
    assert_eq!(cleared.to_vec().expect("a copy"), [1.0; 8], "a capture must not run");
    for seed in 2..5 {
        let values = gates(seed, 2, 40, 0.5);
        gate.copy_from_slice(&values).expect("a copy");
        cleared.copy_from_slice(&[1.0; 8]).expect("a copy");
        graph.launch().expect("a launch");
        assert_eq!(lists.to_host().expect("a copy"), crate::check::lists(&values, 40));
        assert_eq!(cleared.to_vec().expect("a copy"), [0.0; 8]);
    }
}

#[test]
fn what_cannot_be_recorded_is_refused_and_the_device_goes_on() {
    let Some(device) = emulator::device() else { return };
    let buffer = CudaBuffer::<f32>::zeros(&device, 4).expect("a buffer");
    type Attempt<'a> = (&'static str, &'a dyn Fn() -> Result<(), CudaError>);
    let attempts: [Attempt<'_>; 4] = [
        ("allocating", &|| CudaBuffer::<f32>::zeros(&device, 4).map(drop)),
        ("copying to the host", &|| buffer.to_vec().map(drop)),
        ("waiting for the device", &|| device.synchronize()),
        ("a capture", &|| CudaGraph::capture(&device, || Ok(())).map(drop)),
    ];
    for (what, attempt) in attempts {
        let error = CudaGraph::capture(&device, attempt).expect_err(what);
        assert_eq!(
            error.to_string(),
            format!("{what} cannot be part of a graph: do it before the capture")
        );
        assert_eq!(buffer.to_vec().expect("the capture has ended"), [0.0; 4]);
    }
}

#[test]
fn while_one_thread_records_the_others_are_refused() {
    let Some(device) = emulator::device() else { return };
    let mut own = upload(&device, &[1.0; 8]);
    let mut others = upload(&device, &[1.0; 8]);
    let dropped = upload(&device, &[1.0; 8]);
    let mut lists = CudaActiveFilters::empty(&device, 1, 8).expect("lists");
    lists.refill(&own, 8, 0).expect("a launch loads the kernel");
    let graph = CudaGraph::capture(&device, || {
        own.fill_zeros()?;
        let attempts = || {
            drop(dropped);
            [
                CudaGraph::capture(&device, || Ok(())).map(drop),
                others.fill_zeros(),
                lists.refill(&others, 8, 0),
                others.copy_from_slice(&[2.0; 8]),
                others.to_vec().map(drop),
                CudaBuffer::<f32>::zeros(&device, 4).map(drop),
                device.synchronize(),
            ]
        };
        let results = thread::scope(|scope| scope.spawn(attempts).join().expect("no panic"));
        for (result, what) in results.into_iter().zip([
            "a capture",
            "clearing device memory",
            "launching a kernel",
            "copying from the host",
            "copying to the host",
            "allocating",
            "waiting for the device",
        ]) {
            match result {
                Err(CudaError::CapturedElsewhere { what: refused }) => assert_eq!(refused, what),
                other => panic!("{what}: {other:?}"),
            }
        }
        Ok(())
    })
    .expect("the capture goes on");
    graph.launch().expect("a launch");
    assert_eq!(own.to_vec().expect("a copy"), [0.0; 8]);
    assert_eq!(others.to_vec().expect("a copy"), [1.0; 8], "the graph has work of another thread");
    CudaGraph::capture(&device, || others.fill_zeros()).expect("the device is free again");
}

/// Nothing that another thread launches meanwhile gets in.
#[test]
fn a_graph_has_only_what_its_own_thread_launched() {
    let Some(device) = emulator::device() else { return };
    let mut own = upload(&device, &[1.0; 8]);
    let mut others = upload(&device, &[1.0; 8]);
    let (start, done) = (Barrier::new(2), AtomicBool::new(false));
    let graphs: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            while !done.load(Ordering::Relaxed) {
                match others.fill_zeros() {
                    Ok(()) | Err(CudaError::CapturedElsewhere { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let capture = |_| {
            thread::sleep(Duration::from_micros(1)); // the other thread is not kept out for long
            CudaGraph::capture(&device, || own.fill_zeros()).expect("a capture")
        };
        start.wait();
        let graphs = (0..2000).map(capture).collect();
        done.store(true, Ordering::Relaxed);
        graphs
    });
    others.copy_from_slice(&[1.0; 8]).expect("a copy");
    own.copy_from_slice(&[1.0; 8]).expect("a copy");
    graphs.iter().for_each(|graph| graph.launch().expect("a launch"));
    assert_eq!(own.to_vec().expect("a copy"), [0.0; 8]);
    assert_eq!(others.to_vec().expect("a copy"), [1.0; 8], "a graph has work of another thread");
}
