//! Every family against PyTorch: `tools/write_parity_fixtures.py` builds the same networks from
//! their public definitions and stores what they compute.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gaternet_core::checkpoint::{Checkpoint, TensorValue};
use gaternet_core::gate::Gates;
use gaternet_core::nn::Module;
use gaternet_core::{Ctx, Tensor, ops};
use gaternet_models::{
    BackboneConfig, Family, GatePlacement, GatedConfig, GatedNet, GaterConfig, InferencePlan,
    Model, PlainNet, PlanOptions,
};
use serde::Deserialize;

/// The largest difference of a logit.
const LOGITS: f32 = 1e-4;

/// The largest difference of a gradient, L2 over the size of PyTorch's, which is computed in f64.
const GRADIENTS: f64 = 1e-3;

struct Fixture {
    name: String,
    file: Checkpoint,
    about: About,
}

/// The metadata of a fixture, apart from what made it (`seed`, `torch`).
#[derive(Deserialize)]
struct About {
    config: BackboneConfig,
    /// What batch norm uses in the step: `batch` or `running`.
    statistics: String,
}

impl Fixture {
    fn all() -> Vec<Fixture> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let entries = folder.read_dir().expect("the folder of the fixtures");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths.into_iter().map(Fixture::load).collect()
    }

    fn load(path: PathBuf) -> Fixture {
        let file = Checkpoint::load(&path).expect("a fixture");
        let about = serde_json::from_str(&file.metadata["fixture"]).expect("the JSON of a fixture");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        Fixture { name, file, about }
    }

    fn tensor(&self, name: &str) -> Tensor {
        match &self.file.tensors[name] {
            TensorValue::F32(tensor) => tensor.clone(),
            _ => panic!("{}: {name} holds no f32", self.name),
        }
    }

    fn labels(&self) -> Vec<usize> {
        let TensorValue::I64 { values, .. } = &self.file.tensors["labels"] else {
            panic!("{}: labels are integers", self.name)
        };
        values.iter().map(|label| *label as usize).collect()
    }

    /// PyTorch's names and shapes must be exactly ours.
    fn load_weights(&self, model: &impl Module) {
        let weights = self.file.part("model.");
        weights.load_into(&model.state()).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    fn plain(&self) -> PlainNet {
        let net = PlainNet::new(self.about.config, 0).expect("valid");
        self.load_weights(&net);
        net
    }

    fn gated(&self) -> GatedNet {
        let config = GatedConfig {
            placement: GatePlacement::All,
            gater: GaterConfig { depth: 8, width: 0.25, ..GaterConfig::default() },
            ..GatedConfig::new(self.about.config)
        };
        let net = GatedNet::new(config, 0).expect("valid");
        self.load_weights(net.backbone());
        net
    }

    fn gates(&self, net: &GatedNet, values: Tensor) -> Gates {
        Gates::new(values, &net.plan().widths()).expect("PyTorch has the same gates")
    }

    fn same_logits(&self, what: &str, got: &[f32], want: &str) {
        let want = self.tensor(want);
        assert_eq!(got.len(), want.len(), "{}, {what}", self.name);
        for (at, (got, want)) in got.iter().zip(want.data()).enumerate() {
            // Also false for a NaN.
            let close = (got - want).abs() <= LOGITS;
            assert!(close, "{}, {what}: logit {at} is {got}, PyTorch's {want}", self.name);
        }
    }

    fn same_gradient(&self, got: &Tensor, name: &str) {
        let want = self.tensor(name);
        assert_eq!(got.shape(), want.shape(), "{}: {name}", self.name);
        let norm = |squares: f64| squares.sqrt();
        let pairs = got.data().iter().zip(want.data()).map(|(g, w)| (f64::from(*g), f64::from(*w)));
        let error = norm(pairs.clone().map(|(got, want)| (got - want).powi(2)).sum());
        let size = norm(pairs.map(|(_, want)| want * want).sum());
        // Deep below batch norm of a few values, a gradient is what is left of terms that cancel.
        let close = error <= GRADIENTS * size.max(1e-3);
        assert!(close, "{}: {name} is off by {error:e} of {size:e}", self.name);
    }
}

#[test]
fn every_family_has_a_fixture_plain_and_with_squeeze_and_excitation() {
    let kinds = |with_se: bool| {
        let with_se =
            move |fixture: &Fixture| fixture.about.config.squeeze_excitation.is_some() == with_se;
        let kind = |fixture: Fixture| match fixture.about.config.family {
            Family::Resnet { pre_activation, .. } => format!("resnet {pre_activation}"),
            Family::Bottleneck { pre_activation, .. } => format!("bottleneck {pre_activation}"),
            Family::WideResnet { dropout, .. } => format!("wide-resnet {dropout}"),
            Family::ShakeShake { .. } => "shake-shake".to_owned(),
            Family::Densenet { .. } => "densenet".to_owned(),
            Family::ImagenetResnet { depth } => format!("imagenet-resnet {depth}"),
            Family::Custom => panic!("{}: not built from a configuration", fixture.name),
        };
        let mut kinds: Vec<_> = Fixture::all().into_iter().filter(with_se).map(kind).collect();
        kinds.sort();
        kinds
    };
    let residual = [
        "bottleneck false",
        "bottleneck true",
        "imagenet-resnet 18",
        "imagenet-resnet 50",
        "resnet false",
        "resnet true",
        "shake-shake",
        "wide-resnet 0.3",
    ];
    assert_eq!(kinds(true), residual);
    assert_eq!(kinds(false), [&residual[..2], &["densenet"], &residual[2..]].concat());
}

#[test]
fn logits_are_pytorchs() {
    for fixture in Fixture::all() {
        let images = fixture.tensor("images");
        let logits = fixture.plain().forward(&images, &mut Ctx::eval()).expect("they fit");
        fixture.same_logits("plain", logits.data(), "eval.logits");

        let net = fixture.gated();
        let gates = fixture.gates(&net, fixture.tensor("gates.hard"));
        for skip in [false, true] {
            let logits = net.backbone_with_gates(&images, &gates, skip, &mut Ctx::eval());
            let what = format!("gated, skip {skip}");
            fixture.same_logits(&what, logits.expect("they fit").data(), "eval.gated_logits");
        }

        let [batch, _, h, w] = *images.dims() else { panic!("(N, C, H, W)") };
        let options = PlanOptions { size: [h, w], ..PlanOptions::default() };
        let plan = InferencePlan::gated(&net, options).expect("valid");
        let mut logits = vec![0.0; batch * plan.classes()];
        plan.run_with_gates(images.data(), gates.values().data(), &mut logits).expect("they fit");
        fixture.same_logits("inference plan", &logits, "eval.gated_logits");
    }
}

#[test]
fn gradients_are_those_of_pytorch_in_f64() {
    for fixture in Fixture::all() {
        let net = fixture.gated();
        let values = fixture.tensor("gates.soft").leaf();
        let gates = fixture.gates(&net, values.clone());
        let mut ctx = match fixture.about.statistics.as_str() {
            "batch" => Ctx::train(0),
            _ => Ctx::eval().with_grad(),
        };
        let images = fixture.tensor("images");
        let logits = net.backbone_with_gates(&images, &gates, false, &mut ctx).expect("they fit");
        fixture.same_logits("step", logits.data(), "step.logits");
        let loss = ops::cross_entropy(&logits, &fixture.labels()).expect("one label an image");
        let gradients = loss.backward().expect("a scalar");
        fixture.same_gradient(gradients.of(&values).expect("a leaf"), "step.grad.gates");
        for (name, parameter) in net.backbone().parameters() {
            let gradient = gradients.get(&parameter).expect("every one is used");
            fixture.same_gradient(gradient, &format!("step.grad.model.{name}"));
        }
    }
}

#[test]
fn every_family_comes_back_from_a_file_with_the_same_bits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.safetensors");
    for fixture in Fixture::all() {
        let images = fixture.tensor("images");
        let bits = |model: &Model| {
            let (logits, _) = model.forward(&images, &mut Ctx::eval()).expect("they fit");
            logits.data().iter().map(|logit| logit.to_bits()).collect::<Vec<_>>()
        };
        let models = [Model::Plain(fixture.plain().into()), Model::Gated(fixture.gated().into())];
        for model in models {
            model.save(&path, &BTreeMap::new()).expect("a writable folder");
            let again = Model::load(&path).expect("just saved");
            assert_eq!(bits(&again), bits(&model), "{}", fixture.name);
        }
    }
}
