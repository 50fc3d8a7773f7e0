//! Networks that cannot be are errors where they are written, which name the layer.

use gaternet_core::ops::Pool2dOptions;
use gaternet_core::{Ctx, Result, Tensor};
use gaternet_models::{
    Calibration, ConvRole, GatePlacement, GatedNet, GaterConfig, InferencePlan, Model, Network,
    NetworkBuilder, PlainNet, PlanOptions, Value,
};

const CLASSES: usize = 4;

/// The error of a network that is written by `rest`, of the images and 8 feature maps of them.
fn refused(rest: impl FnOnce(&mut NetworkBuilder, [Value; 2]) -> Result<Value>) -> String {
    let (mut net, images) = NetworkBuilder::new(3, 0);
    let maps = net.conv("stem", images, 8, 3).batch_norm("bn").done().expect("valid");
    let built = rest(&mut net, [images, maps]).and_then(|last| {
        let features = net.global_avg_pool(last);
        net.linear("fc", features, CLASSES)?;
        net.finish()
    });
    built.expect_err("it cannot be").to_string()
}

fn assert_says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let error = refused(|net, [_, maps]| net.conv("stem", maps, 8, 3).done());
    assert_says(&error, &["layer stem", "name = stem", "a name of its own"]);
    let error = refused(|net, [_, maps]| net.conv("next", maps, 8, 3).batch_norm("bn").done());
    assert_says(&error, &["layer next", "name = bn"]);
    let error = refused(|net, [_, maps]| net.batch_norm("bn", maps));
    assert_says(&error, &["layer bn", "name = bn"]);
    let error = refused(|net, [_, maps]| net.conv("fc", maps, 8, 3).done());
    assert_says(&error, &["layer fc", "name = fc"]);
}

#[test]
fn a_value_of_another_builder_is_refused() {
    let (mut other, images) = NetworkBuilder::new(3, 0);
    let foreign = other.conv("stem", images, 8, 3).done().expect("valid");
    let foreign = other.relu(foreign);
    let rule = "must be one that this builder has returned";
    let error = refused(|net, _| net.conv("next", foreign, 8, 3).done());
    assert_says(&error, &["layer next", rule]);
    let error = refused(|net, [_, maps]| net.conv("next", maps, 8, 3).residual(foreign).done());
    assert_says(&error, &["layer next", rule]);
    // What cannot say so itself is said by the next that can.
    let error = refused(|net, [_, maps]| {
        let sum = net.add(maps, foreign);
        net.conv("next", sum, 8, 3).done()
    });
    assert_says(&error, &["layer step1", rule]);
    let error = refused(|net, _| Ok(net.relu(foreign)));
    assert_says(&error, &["layer step1", rule]);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let one_shape = "a step and its residual must have one shape";
    let error = refused(|net, [images, maps]| net.conv("next", maps, 8, 3).residual(images).done());
    assert_says(&error, &["layer next", one_shape, "[8, ", "[3, "]);
    let error =
        refused(|net, [_, maps]| net.conv("next", maps, 8, 3).stride(2).residual(maps).done());
    assert_says(&error, &["layer next", one_shape]);
    let error = refused(|net, [images, maps]| Ok(net.add_relu(maps, images)));
    assert_says(&error, &["layer step1", one_shape]);
    let error = refused(|net, [_, maps]| {
        let small = net.avg_pool(maps, Pool2dOptions::square(2, 2, 0));
        net.concat(&[maps, small])
    });
    assert_says(&error, &["layer step2", "maps side by side must have one size"]);
    let error = refused(|net, [_, maps]| net.linear("flat", maps, 8));
    assert_says(&error, &["layer flat", "a linear layer reads vectors (N, C)"]);
    let error = refused(|net, _| net.concat(&[]));
    assert_says(&error, &["must hold a value"]);
    let error = refused(|net, [_, maps]| net.conv("none", maps, 0, 3).done());
    assert_says(&error, &["layer none", "0"]);
}

#[test]
fn a_network_without_a_head_is_refused() {
    let (mut net, images) = NetworkBuilder::new(3, 0);
    net.conv("stem", images, 8, 3).done().expect("valid");
    let error = net.finish().expect_err("maps").to_string();
    assert_says(&error, &["layer stem", "must compute vectors", "global_avg_pool"]);
    let error = NetworkBuilder::new(3, 0).0.finish().expect_err("nothing").to_string();
    assert_says(&error, &["must compute vectors"]);
}

/// A convolution and a head, of images of `channels` channels.
fn small(channels: usize, role: ConvRole) -> Network {
    let (mut net, images) = NetworkBuilder::new(channels, 0);
    let inner = net.conv("inner", images, 8, 3).batch_norm("bn").relu().role(role).done();
    let maps = net.conv("last", inner.expect("valid"), 8, 3).done().expect("valid");
    let features = net.global_avg_pool(maps);
    net.linear("fc", features, CLASSES).expect("valid");
    net.finish().expect("valid")
}

fn gater() -> GaterConfig {
    GaterConfig { depth: 8, bottleneck: 4, ..GaterConfig::default() }
}

#[test]
fn roles_that_are_not_set_name_the_call_that_sets_them() {
    let network = small(3, ConvRole::Ungated);
    let error = GatedNet::gate(network, GatePlacement::Inner, gater(), 0).expect_err("no role");
    assert_says(&error.to_string(), &["placement = Inner", "ConvBuilder::role"]);
}

#[test]
fn images_of_any_number_of_channels_are_gated() {
    for channels in [1, 2, 4] {
        let network = small(channels, ConvRole::Inner);
        let model = GatedNet::gate(network, GatePlacement::Inner, gater(), 0).expect("valid");
        let images = Tensor::randn([2, channels, 32, 32], 1.0, Ctx::train(1).rng());
        let images = images.expect("small");
        let output = model.forward(&images, &mut Ctx::train(2)).expect("they fit");
        model.loss(&output, &[0, 1]).expect("classes").total.backward().expect("a graph");
        let want = model.forward(&images, &mut Ctx::eval()).expect("they fit").logits;
        let plan = InferencePlan::gated(&model, PlanOptions::default()).expect("they fit");
        let got = plan.forward(&images).expect("they fit");
        for (got, want) in got.data().iter().zip(want.data()) {
            assert!((got - want).abs() < 1e-4, "{channels} channels: {got}, not {want}");
        }
    }
}

#[test]
fn errors_of_a_pass_name_the_layer() {
    let model = PlainNet::custom(small(3, ConvRole::Ungated));
    let images = Tensor::zeros([1, 4, 32, 32]).expect("small");
    let error = model.forward(&images, &mut Ctx::eval()).expect_err("4 channels").to_string();
    assert_says(&error, &["layer inner", "[1, 4, 32, 32]"]);
}

fn models() -> [Model; 2] {
    let network = || small(3, ConvRole::Inner);
    let gated = GatedNet::gate(network(), GatePlacement::Inner, gater(), 0).expect("valid");
    [Model::Plain(PlainNet::custom(network()).into()), Model::Gated(gated.into())]
}

#[test]
fn an_image_that_is_not_finite_is_named_and_the_others_are_answered() {
    for model in models() {
        let images = Tensor::randn([4, 3, 32, 32], 1.0, Ctx::train(1).rng()).expect("small");
        let plan = InferencePlan::new(&model, PlanOptions::default()).expect("they fit");
        let want = plan.forward(&images).expect("finite");
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut pixels = images.data().to_vec();
            pixels[2 * 3 * 32 * 32 + 77] = bad;
            let mut logits = vec![0.0; 4 * CLASSES];
            let error = plan.run(&pixels, &mut logits).expect_err("not finite").to_string();
            assert_says(&error, &["image 2 of the batch", "finite"]);
            for (at, (got, want)) in logits.iter().zip(want.data()).enumerate() {
                match at / CLASSES {
                    2 => assert!(got.is_nan(), "logit {at}: {got}"),
                    _ => assert_eq!(got, want, "logit {at}"),
                }
            }
            let images = Tensor::new(pixels, images.shape()).expect("as long");
            let error = model.forward(&images, &mut Ctx::eval()).expect_err("not finite");
            assert_says(&error.to_string(), &["image 2 of the batch", "finite"]);
        }
    }
}

#[test]
fn a_batch_of_no_images_has_no_logits() {
    for model in models() {
        let images = Tensor::zeros([0, 3, 32, 32]).expect("small");
        let (logits, gates) = model.forward(&images, &mut Ctx::eval()).expect("nothing to do");
        assert_eq!(logits.dims(), [0, CLASSES]);
        assert!(gates.is_none_or(|gates| gates.values().dims()[0] == 0));
        let plan = InferencePlan::new(&model, PlanOptions::default()).expect("they fit");
        assert_eq!(plan.forward(&images).expect("nothing to do").dims(), [0, CLASSES]);
    }
}

#[test]
fn images_of_another_size_than_the_plans_are_refused_with_that_size() {
    for model in models() {
        let plan = InferencePlan::new(&model, PlanOptions::default()).expect("they fit");
        // Four of 48x48 have the pixels of nine.
        let images = Tensor::zeros([4, 3, 48, 48]).expect("small");
        let mut logits = vec![0.0; 4 * CLASSES];
        let error = plan.run(images.data(), &mut logits).expect_err("another size").to_string();
        assert_says(&error, &["(3, 32, 32)"]);
        let error = plan.forward(&images).expect_err("another size").to_string();
        assert_says(&error, &["(N, 3, 32, 32)", "4, 3, 48, 48"]);
    }
}

#[test]
fn a_fraction_of_images_that_is_none_is_refused() {
    let network = small(3, ConvRole::Inner);
    let model = GatedNet::gate(network, GatePlacement::Inner, gater(), 0).expect("valid");
    let mut calibration = Calibration::new(model.plan().gates());
    calibration.add(&vec![1.0; model.plan().gates()]).expect("(N, c)");
    for fraction in [-0.1, 1.1, f64::NAN] {
        let error = model.pruned_subnetwork(&calibration, fraction).expect_err("out of range");
        assert_says(&error.to_string(), &["fraction", "at most 1"]);
    }
}
