//! Ops that the library does not know: in training, in plans, in counts and in pruned subnetworks.

use std::sync::Arc;

use gaternet_core::gate::Gates;
use gaternet_core::nn::{Module, State, scoped};
use gaternet_core::ops::Active;
use gaternet_core::optim::{Optimizer, Sgd, SgdConfig};
use gaternet_core::{Backward, Ctx, Error, Parameter, Result, Tensor};
use gaternet_models::{
    Calibration, ConvRole, Filters, GatePlacement, GatedNet, GaterConfig, InferencePlan, Network,
    NetworkBuilder, Op, PlanContext, PlanOptions, Planned, Pruning, Reads, SampleKernel,
};

const SIZE: [usize; 2] = [8, 8];
const BATCH: usize = 3;
const CLASSES: usize = 4;
const WIDTH: usize = 12;

/// `y = weight[c] · x` in channel c: a depthwise convolution of one pixel.
#[derive(Debug)]
struct Scale {
    weight: Parameter,
}

/// `y = x^2`, whose zeros stay.
#[derive(Debug, Clone, Copy)]
struct Square;

impl Scale {
    fn new() -> Scale {
        let weight = (1..=WIDTH).map(|c| c as f32 / WIDTH as f32).collect();
        Scale { weight: Parameter::new(Tensor::new(weight, [WIDTH]).expect("as long")) }
    }
}

impl Op for Scale {
    fn name(&self) -> &str {
        "scale"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        let filters = self.weight.shape().dims()[0];
        if inputs[0][0] == filters {
            return Ok(inputs[0]);
        }
        let got = format!("{filters} filters for {:?}", inputs[0]);
        Err(Error::Shape { op: "scale", rule: "a filter for each channel", got })
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, ctx: &mut Ctx) -> Result<Tensor> {
        let (x, weight) = (inputs[0], self.weight.value(ctx));
        let y = scaled(x, weight.data());
        let saved = [x.detach(), weight.detach()];
        Tensor::from_op(y, x.shape(), &[x, &weight], |_| ScaleBackward { saved })
    }

    fn plan(&self, _: &mut PlanContext<'_>) -> Result<Planned> {
        Ok(Planned::each_sample(ScaleKernel { weight: self.weight.tensor() }))
    }

    fn macs(&self, inputs: &[[usize; 3]]) -> u64 {
        inputs[0].iter().product::<usize>() as u64
    }

    fn filters(&self) -> Option<Filters> {
        let count = self.weight.shape().dims()[0];
        Some(Filters { count, channels: 1, kernel: [1, 1], reads: Reads::Same })
    }

    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        out.push((scoped(prefix, "weight"), State::Parameter(self.weight.clone())));
    }

    fn pruned(&self, pruning: Pruning<'_>) -> Result<Option<Arc<dyn Op>>> {
        let mut weight = pruning.per_filter(self.weight.tensor().data(), 1);
        pruning.zero_filters().into_iter().for_each(|filter| weight[filter] = 0.0);
        let shape = [weight.len()];
        Ok(Some(Arc::new(Scale { weight: Parameter::new(Tensor::new(weight, shape)?) })))
    }
}

fn scaled(x: &Tensor, weight: &[f32]) -> Vec<f32> {
    let plane = x.dims()[2] * x.dims()[3];
    let value = |(i, x): (usize, &f32)| x * weight[i / plane % weight.len()];
    x.data().iter().enumerate().map(value).collect()
}

struct ScaleKernel {
    weight: Tensor,
}

impl SampleKernel for ScaleKernel {
    /// Channels that are not active become NaN: nobody may look at them.
    fn run(
        &self,
        inputs: gaternet_models::Inputs<'_>,
        active: Option<&[u32]>,
        output: &mut [f32],
    ) -> Result<()> {
        let weight = self.weight.data();
        let plane = output.len() / weight.len();
        let planes = output.chunks_exact_mut(plane).zip(inputs.get(0).chunks_exact(plane));
        for (channel, (y, x)) in planes.enumerate() {
            let is_active = active.is_none_or(|active| active.contains(&(channel as u32)));
            let weight = if is_active { weight[channel] } else { f32::NAN };
            y.iter_mut().zip(x).for_each(|(y, x)| *y = x * weight);
        }
        Ok(())
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(self.weight.data())
    }
}

#[derive(Debug)]
struct ScaleBackward {
    saved: [Tensor; 2],
}

impl Backward for ScaleBackward {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn backward(&self, grad: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let [x, weight] = &self.saved;
        let plane = x.dims()[2] * x.dims()[3];
        let grad_x = || Tensor::new(scaled(&grad, weight.data()), x.shape());
        let grad_weight = || {
            let mut sums = vec![0.0; weight.len()];
            for (i, (grad, x)) in grad.data().iter().zip(x.data()).enumerate() {
                sums[i / plane % weight.len()] += grad * x;
            }
            Tensor::new(sums, weight.shape())
        };
        Ok(vec![needs[0].then(grad_x).transpose()?, needs[1].then(grad_weight).transpose()?])
    }
}

impl Op for Square {
    fn name(&self) -> &str {
        "square"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        Ok(inputs[0])
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, _: &mut Ctx) -> Result<Tensor> {
        gaternet_core::ops::mul(inputs[0], inputs[0])
    }

    fn plan(&self, _: &mut PlanContext<'_>) -> Result<Planned> {
        Ok(Planned::each_sample(Square))
    }

    fn keeps_zeros(&self) -> bool {
        true
    }
}

impl SampleKernel for Square {
    fn run(
        &self,
        inputs: gaternet_models::Inputs<'_>,
        _: Option<&[u32]>,
        output: &mut [f32],
    ) -> Result<()> {
        output.iter_mut().zip(inputs.get(0)).for_each(|(y, x)| *y = x * x);
        Ok(())
    }
}

/// Two blocks: 1x1 to WIDTH channels, squared in the second, scaled with gates, 1x1 back, summed.
fn network() -> Network {
    let (mut net, images) = NetworkBuilder::new(3, 1);
    let mut x = net.conv("stem", images, 6, 3).batch_norm("bn").relu().done().expect("valid");
    for block in ["a", "b"] {
        let name = |layer: &str| format!("{block}.{layer}");
        let wide = net.conv(name("expand"), x, WIDTH, 1).batch_norm(name("bn1")).done();
        let mut wide = wide.expect("valid");
        if block == "b" {
            wide = net.op(name("square"), Square, &[wide]).done().expect("valid");
        }
        let inner = net.op(name("scale"), Scale::new(), &[wide]).batch_norm(name("bn2")).relu();
        let inner = inner.role(ConvRole::Inner).done().expect("valid");
        let back = net.conv(name("project"), inner, 6, 3).batch_norm(name("bn3")).residual(x);
        x = back.relu().done().expect("valid");
    }
    let features = net.global_avg_pool(x);
    net.linear("fc", features, CLASSES).expect("valid");
    net.finish().expect("valid")
}

fn model() -> GatedNet {
    let gater = GaterConfig { depth: 8, bottleneck: 4, ..GaterConfig::default() };
    let model = GatedNet::gate(network(), GatePlacement::Inner, gater, 2).expect("valid");
    // Batch norms of their own scale and shift, so that a plane of zeros does not stay one.
    for (name, state) in model.backbone().state() {
        match state {
            State::Parameter(parameter) if name.contains("bn") => {
                let shift = if name.ends_with("bias") { -0.2 } else { 0.9 };
                parameter.update(|values| {
                    let values = values.iter_mut().enumerate();
                    values.for_each(|(i, value)| *value = shift + 0.1 * (i % 5) as f32);
                });
            }
            _ => {}
        }
    }
    model
}

fn images() -> Tensor {
    let [h, w] = SIZE;
    Tensor::randn([BATCH, 3, h, w], 1.0, Ctx::train(3).rng()).expect("small")
}

/// Gates (N, c) with about a third closed, whole layers of the last image among them.
fn gates(model: &GatedNet) -> Gates {
    let (count, widths) = (model.plan().gates(), model.plan().widths());
    let open = |i: usize| i % 3 != 1 && !(i / count == BATCH - 1 && i % count < widths[0]);
    let values = (0..BATCH * count).map(|i| f32::from(u8::from(open(i)))).collect();
    Gates::new(Tensor::new(values, [BATCH, count]).expect("as long"), &widths).expect("the plan's")
}

fn options(skip: bool) -> PlanOptions {
    PlanOptions { size: SIZE, skip, ..PlanOptions::default() }
}

fn run(plan: &InferencePlan, gates: &Gates) -> Vec<f32> {
    let mut logits = vec![f32::NAN; BATCH * CLASSES];
    let images = images();
    plan.run_with_gates(images.data(), gates.values().data(), &mut logits).expect("they fit");
    logits
}

fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let bound = 1e-4 * want.abs().max(1.0);
        assert!((got - want).abs() < bound, "{what}, logit {i}: {got}, not {want}");
    }
    assert_eq!(got.len(), want.len(), "{what}");
}

#[test]
fn a_gated_op_of_ones_own_has_the_same_logits_in_the_model_and_in_plans() {
    let (model, images) = (model(), images());
    let gates = gates(&model);
    let logits = |skip| {
        let logits = model.backbone_with_gates(&images, &gates, skip, &mut Ctx::eval());
        logits.expect("they fit").data().to_vec()
    };
    let want = logits(false);
    assert_close("left out in the model", &logits(true), &want);
    for skip in [true, false] {
        let plan = InferencePlan::gated(&model, options(skip)).expect("it fits");
        assert_close(&format!("a plan, skip {skip}"), &run(&plan, &gates), &want);
    }
    let plan = |skip| InferencePlan::gated(&model, options(skip)).expect("it fits");
    assert_eq!(run(&plan(true), &gates), run(&plan(false), &gates), "skipping and masking");
}

#[test]
fn gates_of_a_depthwise_op_save_the_layer_before_it_too() {
    let model = model();
    let convs = model.backbone().convs(SIZE).expect("they fit");
    let gates_of = |name: &str| {
        let at = convs.iter().position(|conv| conv.name == name).expect(name);
        model.plan().convs()[at].computed()
    };
    for block in 0..2 {
        let [expand, scale, project] = ["expand", "scale", "project"]
            .map(|layer| gates_of(&format!("{}.{layer}", ["a", "b"][block])));
        assert_eq!((expand.filters, expand.channels), (Some(block), None));
        assert_eq!((scale.filters, scale.channels), (Some(block), None));
        assert_eq!((project.filters, project.channels), (None, Some(block)));
    }
    let [h, w] = SIZE;
    let pixels = (h * w) as f64;
    let (stem, of_filter) = (27.0 * 6.0 * pixels, (6.0 + 1.0 + 54.0) * pixels);
    let rest = 6.0 * pixels + 6.0 * CLASSES as f64;
    let whole = stem + 2.0 * WIDTH as f64 * of_filter + rest;
    assert_eq!(model.backbone().macs(SIZE).expect("they fit") as f64, whole);
    let gates = gates(&model);
    let open = gates.values().data().iter().sum::<f32>() / BATCH as f32;
    let cost = model.cost(SIZE, &gates).expect("they fit");
    let want = stem + f64::from(open) * of_filter + rest;
    assert!((cost.executed / want - 1.0).abs() < 1e-6, "{} for {want}", cost.executed);
}

#[test]
fn an_op_of_ones_own_learns_and_is_stored() {
    let (model, images) = (model(), images());
    let mut sgd = Sgd::new(model.parameters(), SgdConfig::default()).expect("valid");
    let before: Vec<_> = model.parameters().into_iter().map(|(_, p)| p.tensor()).collect();
    for step in 0..2 {
        let output = model.forward(&images, &mut Ctx::train(step)).expect("they fit");
        let loss = model.loss(&output, &[0, 1, 2]).expect("classes");
        sgd.step(&loss.total.backward().expect("a graph")).expect("all have gradients");
    }
    for ((name, parameter), before) in model.parameters().into_iter().zip(before) {
        if name.starts_with("backbone.") {
            assert_ne!(parameter.tensor().data(), before.data(), "{name} has not moved");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    model.save(&path, &Default::default()).expect("it can be written");
    let other = self::model();
    other.load_weights(&path).expect("the same architecture");
    let names = |model: &GatedNet| model.state().into_iter().map(|(n, _)| n).collect::<Vec<_>>();
    assert!(names(&other).contains(&"backbone.a.scale.weight".to_owned()), "{:?}", names(&other));
    let logits = |model: &GatedNet| {
        model.forward(&images, &mut Ctx::eval()).expect("they fit").logits.data().to_vec()
    };
    assert_eq!(logits(&model), logits(&other));
}

#[test]
fn what_a_calibration_settles_is_left_out_of_an_op_of_ones_own() {
    let model = model();
    let count = model.plan().gates();
    // Of three filters one always runs, one never, one for some images.
    let row =
        |n: usize| (0..count).map(move |i| f32::from(u8::from(i % 3 == 0 || (i + n) % 6 == 2)));
    let values: Vec<f32> = (0..BATCH).flat_map(row).collect();
    let mut calibration = Calibration::new(count);
    calibration.add(&values).expect("(N, c)");
    let values = Tensor::new(values, [BATCH, count]).expect("as long");
    let gates = Gates::new(values, &model.plan().widths()).expect("the plan's");
    let whole = InferencePlan::gated(&model, options(true)).expect("it fits");
    let calibrated = InferencePlan::calibrated(&model, options(true), &calibration);
    let calibrated = calibrated.expect("its gates");
    assert!(calibrated.weight_bytes() < whole.weight_bytes());
    assert_close("a calibrated plan", &run(&calibrated, &gates), &run(&whole, &gates));

    let pruned = model.pruned_subnetwork(&calibration, 0.0).expect("its gates");
    assert!(pruned.parameter_count() < model.backbone().parameter_count());
    let kept = calibration.opened().iter().cycle().take(BATCH * count);
    let kept = kept.map(|opened| f32::from(u8::from(*opened > 0))).collect();
    let kept = Tensor::new(kept, [BATCH, count]).expect("as long");
    let kept = Gates::new(kept, &model.plan().widths()).expect("the plan's");
    let logits = pruned.forward(&images(), &mut Ctx::eval()).expect("they fit");
    assert_close("the pruned subnetwork", logits.data(), &run(&whole, &kept));
}

#[test]
fn what_an_op_cannot_do_names_it() {
    #[derive(Debug)]
    struct Stubborn(Scale);
    impl Op for Stubborn {
        fn name(&self) -> &str {
            "stubborn op"
        }
        fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
            self.0.shape(inputs)
        }
        fn forward(&self, inputs: &[&Tensor], active: &Active, ctx: &mut Ctx) -> Result<Tensor> {
            self.0.forward(inputs, active, ctx)
        }
        fn plan(&self, at: &mut PlanContext<'_>) -> Result<Planned> {
            self.0.plan(at)
        }
        fn filters(&self) -> Option<Filters> {
            self.0.filters()
        }
        fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
            self.0.collect(prefix, out);
        }
    }
    let (mut net, images) = NetworkBuilder::new(3, 1);
    let wide = net.conv("expand", images, WIDTH, 1).done().expect("valid");
    let inner = net.op("own", Stubborn(Scale::new()), &[wide]).role(ConvRole::Inner);
    let inner = inner.done().expect("valid");
    let back = net.conv("project", inner, 4, 1).done().expect("valid");
    let features = net.global_avg_pool(back);
    net.linear("fc", features, CLASSES).expect("valid");
    let gater = GaterConfig { depth: 8, bottleneck: 4, ..GaterConfig::default() };
    let network = net.finish().expect("valid");
    let model = GatedNet::gate(network, GatePlacement::Inner, gater, 2).expect("valid");
    let mut calibration = Calibration::new(model.plan().gates());
    calibration.add(&vec![1.0; model.plan().gates()]).expect("(N, c)");
    for error in [
        model.pruned_subnetwork(&calibration, 0.0).err(),
        InferencePlan::calibrated(&model, options(true), &calibration).err(),
    ] {
        let error = error.expect("it has weights").to_string();
        assert!(error.contains("layer own") && error.contains("stubborn op"), "{error}");
        assert!(error.contains("Op::pruned"), "{error}");
    }
}
