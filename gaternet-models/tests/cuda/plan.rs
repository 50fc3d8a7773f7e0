use gaternet_core::Ctx;
use gaternet_kernels::Device;
use gaternet_kernels::cuda::{Activation, bf16};
use gaternet_models::cuda::CudaPlan;
use gaternet_models::{GatePlacement, Model, Plan, PlanOptions};

use crate::emulator;
use crate::setup::{
    CLASSES, Data, SIDE, bottleneck, cpu_step, distance, dropout, gated, gated_as, options, plain,
    resnet, sgd, wide,
};

const PLACEMENTS: [GatePlacement; 3] =
    [GatePlacement::BlockOutput, GatePlacement::Inner, GatePlacement::All];

/// Statistics and gates of their own after two steps.
fn train(model: &Model, data: &Data) {
    let mut sgd = sgd(model);
    for step in 0..2 {
        cpu_step(model, &mut sgd, data, &[0, 1, 2, 3, 4, 5], [step, 4]);
    }
}

pub(crate) fn check<T: Activation>(name: &str, model: &Model, bound: f64) {
    let Some(device) = emulator::device() else { return };
    let data = Data::new(10);
    let mut plan = CudaPlan::<T>::new(&device, model, [SIDE; 2], 4).expect("kernels for all");
    let (resident, augment) = (data.upload(&device), options(1, 1).augment);
    // The second time with other weights, and as a graph.
    for pass in 0..3 {
        train(model, &data);
        plan.refresh().expect("a copy");
        // A whole batch, then fewer.
        for numbers in [&[6, 7, 8, 9][..], &[2, 9]] {
            let images = data.images(numbers);
            let mut logits = vec![f32::NAN; numbers.len() * CLASSES];
            let mut gates = vec![f32::NAN; numbers.len() * plan.gate_count()];
            plan.run(images.data(), &mut logits, &mut gates).expect("a pass");
            // From bytes on the device.
            let mut again = [vec![f32::NAN; logits.len()], vec![f32::NAN; gates.len()]];
            let [of_bytes, other] = &mut again;
            plan.run_on(&resident, &augment, numbers, of_bytes, other).expect("a pass");
            assert!(again == [logits.clone(), gates.clone()], "{name}: not of the same images");
            let (want, want_gates) = model.forward(&images, &mut Ctx::eval()).expect("fits");
            let what = format!("{name}, pass {pass}, {} images", numbers.len());
            if let Some(want) = want_gates {
                let open = want.values().data();
                let differ = gates.iter().zip(open).filter(|(a, b)| a != b).count();
                assert!(differ == 0 || bound > 1e-3, "{what}: {differ} other gates");
                assert!(open.contains(&0.0) && open.contains(&1.0), "{what}: {open:?}");
                if differ > 0 {
                    continue;
                }
            }
            let far = distance(&logits, want.data());
            assert!(far < bound, "{what}: {far:.1e}, {logits:?}, on the CPU {:?}", want.data());
        }
    }
}

#[test]
fn logits_and_gates_are_those_of_the_cpu() {
    check::<f32>("plain", &plain(resnet()), 1e-5);
    check::<f32>("wide, plain", &plain(dropout()), 1e-5);
    for placement in PLACEMENTS {
        check::<f32>(&format!("{placement:?}"), &gated(resnet(), placement), 1e-5);
        check::<f32>(&format!("wide, {placement:?}"), &gated(wide(), placement), 1e-5);
        check::<f32>(&format!("bottleneck, {placement:?}"), &gated(bottleneck(), placement), 1e-5);
    }
    // A gate for each block: where it is closed neither convolution runs.
    let blocks =
        gated_as(resnet(), GatePlacement::BlockOutput, |config| config.filters_per_gate = 64);
    check::<f32>("whole blocks", &blocks, 1e-5);
}

/// Logits of rounded activations: some bits of bf16's eight, where the gates are the same.
#[test]
fn logits_in_bf16_stay_near_those_of_the_cpu() {
    check::<bf16>("plain", &plain(resnet()), 0.05);
    check::<bf16>("gated", &gated(resnet(), GatePlacement::All), 0.05);
}

#[test]
fn a_plan_of_a_device_is_that_of_the_cpu_from_any_thread() {
    let Some(device) = emulator::device() else { return };
    let (model, data) = (gated(resnet(), GatePlacement::All), Data::new(5));
    train(&model, &Data::new(10));
    let options = PlanOptions { size: [SIDE; 2], batch: 2, ..PlanOptions::default() };
    let gpu = Plan::new(&model, options, &Device::Cuda(device)).expect("kernels for all");
    let cpu = Plan::new(&model, options, &Device::Cpu).expect("it fits");
    assert_eq!([gpu.gate_count(), gpu.classes()], [cpu.gate_count(), cpu.classes()]);
    // More than the batch.
    let images = data.images(&[0, 1, 2, 3, 4]);
    let want = cpu.forward(&images).expect("they fit");
    let far = |got: &[f32]| distance(got, want.data());
    let forward = || gpu.forward(&images).expect("they fit");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(forward)).collect();
        for thread in threads {
            let got = thread.join().expect("no panic");
            assert!(far(got.data()) < 1e-5, "{:.1e}", far(got.data()));
        }
    });
    let mut pixels = images.data().to_vec();
    pixels[SIDE * SIDE * 3 * 3] = f32::NAN;
    let mut logits = vec![0.0; 5 * CLASSES];
    let error = gpu.run(&pixels, &mut logits).expect_err("not finite").to_string();
    assert!(error.contains("image 3 of the batch"), "{error}");
    for (at, logit) in logits.iter().enumerate() {
        assert_eq!(logit.is_nan(), at / CLASSES == 3, "logit {at}: {logit}");
    }
    let error = gpu.run(&pixels[1..], &mut logits).expect_err("a pixel is missing").to_string();
    assert!(error.contains("must be of N images"), "{error}");
}
