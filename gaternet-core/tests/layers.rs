//! Layers: names, initial values, running statistics, and the instruction set of a pass.

use approx::assert_abs_diff_eq;
use gaternet_core::nn::{BatchNorm2d, Conv2d, Epilogue, Linear, Module};
use gaternet_core::ops::Conv2dOptions;
use gaternet_core::{Ctx, Error, Tensor, ops};
use gaternet_kernels::Isa;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(3)
}

fn names(module: &impl Module, prefix: &str) -> Vec<String> {
    let mut out = Vec::new();
    module.collect(prefix, &mut out);
    out.into_iter().map(|(name, _)| name).collect()
}

fn moments(x: &Tensor) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.data().iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let var = x.data().iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    (mean, var.sqrt())
}

#[test]
fn names_are_pytorchs() {
    let bn = BatchNorm2d::new(4).expect("channels");
    let expected =
        ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"].map(String::from);
    assert_eq!(names(&bn, ""), expected);
    assert_eq!(names(&bn, "stage1.bn1")[2], "stage1.bn1.running_mean");
    assert_eq!(bn.parameter_count(), 8);
    let linear = Linear::new(3, 2, &mut rng()).expect("sizes are not 0");
    assert_eq!(
        (names(&linear, "fc"), linear.parameter_count()),
        (vec!["fc.weight".into(), "fc.bias".into()], 8)
    );
}

#[test]
fn a_convolution_starts_kaiming_normal_by_fan_out() {
    let conv = Conv2d::new(64, 32, [3, 3], Conv2dOptions::default(), &mut rng());
    let (mean, std) = moments(&conv.expect("sizes are not 0").weight().tensor());
    let want = (2.0f64 / (32.0 * 9.0)).sqrt();
    assert!(mean.abs() < 0.01 * want.max(0.1) && (std / want - 1.0).abs() < 0.03, "{mean} {std}");
}

#[test]
fn a_linear_layer_starts_uniform_with_no_bias() {
    let linear = Linear::new(100, 50, &mut rng()).expect("sizes are not 0");
    let weight = linear.weight().tensor();
    assert!(weight.data().iter().all(|w| w.abs() <= 0.1));
    let (mean, std) = moments(&weight);
    assert!(mean.abs() < 0.003 && (std / (0.1 / 3f64.sqrt()) - 1.0).abs() < 0.03, "{mean} {std}");
    assert_eq!(linear.bias().tensor().data(), [0.0; 50]);
}

#[test]
fn sizes_of_zero_are_refused() {
    let options = Conv2dOptions::default();
    let still = options.with_stride([1, 0]);
    assert!(matches!(Conv2d::new(0, 4, [3, 3], options, &mut rng()), Err(Error::Config { .. })));
    assert!(matches!(Conv2d::new(4, 4, [3, 3], still, &mut rng()), Err(Error::Config { .. })));
    assert!(matches!(Linear::new(0, 4, &mut rng()), Err(Error::Config { .. })));
    assert!(matches!(Linear::new(4, 0, &mut rng()), Err(Error::Config { .. })));
    assert!(matches!(BatchNorm2d::new(0), Err(Error::Config { .. })));
}

/// x = torch.tensor([1., 2., 3., 6.]).view(2, 1, 1, 2); bn = BatchNorm2d(1); bn(x):
/// the batch has mean 3, unbiased variance 14/3.
#[test]
fn running_statistics_move_by_a_tenth_and_only_in_training() {
    let bn = BatchNorm2d::new(1).expect("channels");
    let x = Tensor::new(vec![1.0, 2.0, 3.0, 6.0], [2, 1, 1, 2]).expect("4 values");
    let epilogue = Epilogue::default();
    let before = bn.forward(&x, &Ctx::eval(), epilogue).expect("fits");
    // Mean 0 and variance 1 at first.
    assert_abs_diff_eq!(before.data()[3], 6.0, epsilon = 1e-3);

    let y = bn.forward(&x, &Ctx::train(0), epilogue).expect("fits");
    let std = 3.5f32.sqrt();
    for (y, x) in y.data().iter().zip(x.data()) {
        assert!((y - (x - 3.0) / std).abs() < 1e-4, "{x} became {y}");
    }
    let (mean, var) = (bn.running_mean().tensor(), bn.running_var().tensor());
    assert_abs_diff_eq!(mean.data()[0], 0.3, epsilon = 1e-6);
    assert_abs_diff_eq!(var.data()[0], 0.9 + 0.1 * 14.0 / 3.0, epsilon = 1e-6);

    bn.forward(&x, &Ctx::eval().with_grad(), epilogue).expect("fits");
    assert_eq!(bn.running_mean().tensor().data(), mean.data());
    let counter = bn.state().into_iter().find_map(|(_, state)| match state {
        gaternet_core::nn::State::Counter(counter) => Some(counter.get()),
        _ => None,
    });
    assert_eq!(counter, Some(1));
}

#[test]
fn one_value_per_channel_trains_no_statistics() {
    let bn = BatchNorm2d::new(2).expect("channels");
    let x = Tensor::zeros([1, 2, 1, 1]).expect("small");
    assert!(bn.forward(&x, &Ctx::train(0), Epilogue::default()).is_err());
    assert!(bn.forward(&x, &Ctx::eval(), Epilogue::default()).is_ok());
}

#[test]
fn a_pass_runs_with_the_instruction_set_of_its_context_forward_and_back() {
    let conv = Conv2d::new(3, 8, [3, 3], Conv2dOptions::default(), &mut rng()).expect("not 0");
    let bn = BatchNorm2d::new(8).expect("channels");
    let images = Tensor::randn([2, 3, 9, 9], 1.0, &mut rng()).expect("small");
    for isa in Isa::available() {
        let ctx = Ctx::train(0).with_isa(isa);
        let x = ctx.input(&images);
        assert_eq!(x.isa().expect("given"), isa);
        // Of the parameters, where the input has none.
        let y = conv.forward(&images, &ctx);
        let y = y.and_then(|y| bn.forward(&y, &ctx, Epilogue::default())).expect("fits");
        assert_eq!(y.isa().expect("given"), isa);
        let square = ops::mul(&y, &y).and_then(|y| ops::sum(&y)).expect("one shape");
        let gradients = square.backward().expect("in a graph");
        for parameter in [conv.weight(), bn.weight(), bn.bias()] {
            let gradient = gradients.get(parameter).expect("used");
            assert_eq!(gradient.isa().expect("given"), isa);
        }
    }
    let of_process = images.isa().expect("the variable names one that is there");
    assert_eq!(of_process, Isa::current().expect("as above"));
}
