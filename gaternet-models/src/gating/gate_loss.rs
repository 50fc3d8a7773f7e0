//! The losses of gates that a configuration names.

use gaternet_core::gate::{Beta, Gates, batch_shaping, counted, l1_loss, target_cost, target_rate};
use gaternet_core::{Error, Result, Tensor, ops};
use serde::{Deserialize, Serialize};

use crate::cost::{LatencyCosts, MacCosts};

/// A loss of the gates alone; training adds one [`GateTerm`](crate::GateTerm) or several to the
/// loss of its task.
///
/// The losses with a target look at the gates of evaluation (see [`counted`]): so training aims at
/// what runs, whatever noise it has itself.
///
/// Serialised as `"l1"`, `{ "target_rate": { "target": 0.5 } }` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum GateLoss {
    /// The paper's [`l1_loss`]. Its weight decides how many gates stay open in the end, and only
    /// trying tells.
    #[default]
    L1,
    /// The [`target_rate`]: reaches a known fraction of open gates in every layer.
    TargetRate {
        /// The target fraction of open gates, 0 to 1.
        target: f32,
    },
    /// The [`target_cost`] of [`MacCosts`]: reaches a known cost of the network and lets training
    /// decide what each layer gets.
    TargetMacs {
        /// Target cost, gater included, over that of the network without gates; positive.
        target: f32,
    },
    /// The [`target_cost`] of [`LatencyCosts`]: reaches a known time of a batch, on the machine
    /// where it was measured.
    TargetLatency {
        /// Target time, gater included, over that of the network without gates; positive.
        target: f32,
    },
    /// The [`batch_shaping`] of the gates' probabilities `sigmoid(gate logit)`: for gates that
    /// depend on the input instead of always being open or closed. Usual early in training, with a
    /// weight that fades and another loss for the cost.
    BatchShaping {
        /// First parameter of the Beta distribution; 0.6 in the paper.
        a: f32,
        /// Second parameter of the Beta distribution; 0.4 in the paper.
        b: f32,
    },
}

/// The values that the losses look at.
#[derive(Debug, Clone, Copy)]
pub struct GateLossInput<'a> {
    /// The gates the backbone ran with.
    pub gates: &'a Gates,
    /// The gate logits (N, outputs of the gater), before noise; one for each shared gate.
    pub gate_logits: &'a Tensor,
    /// The gates (N, C) that evaluation makes of the gate logits.
    pub evaluated: &'a Tensor,
    /// MACs that the gates switch; only [`GateLoss::TargetMacs`] looks at them.
    pub costs: &'a MacCosts,
    /// Measured times that the gates switch; only [`GateLoss::TargetLatency`] looks at them.
    pub latency: Option<&'a LatencyCosts>,
    /// Fraction of the training that is done, 0 to 1.
    pub progress: f64,
}

impl GateLoss {
    /// Checks that the parameters are in range.
    ///
    /// # Errors
    /// [`Error::Config`] that names the parameter out of range.
    pub fn validate(&self) -> Result<()> {
        let fail = |field, target: f32, rule| {
            Err(Error::Config { field, value: target.to_string(), rule })
        };
        // The targets that can be met depend on the network; this is what all have in common.
        let positive = |field, target: f32| match target.is_finite() && target > 0.0 {
            true => Ok(()),
            false => fail(field, target, "must be positive and finite"),
        };
        match *self {
            GateLoss::L1 => Ok(()),
            GateLoss::TargetRate { target } if (0.0..=1.0).contains(&target) => Ok(()),
            GateLoss::TargetRate { target } => fail("target_rate", target, "must be 0 to 1"),
            GateLoss::TargetMacs { target } => positive("target_macs", target),
            GateLoss::TargetLatency { target } => positive("target_latency", target),
            GateLoss::BatchShaping { a, b } => Beta::new(a.into(), b.into()).map(|_| ()),
        }
    }

    /// Whether it aims at a number of open gates, rather than at certain gates or at few.
    #[must_use]
    pub fn has_target(&self) -> bool {
        match self {
            GateLoss::TargetRate { .. }
            | GateLoss::TargetMacs { .. }
            | GateLoss::TargetLatency { .. } => true,
            GateLoss::L1 | GateLoss::BatchShaping { .. } => false,
        }
    }

    /// Computes the loss, shape `()`.
    ///
    /// # Errors
    /// [`Error::Config`] if a parameter, a cost or the progress is out of range, [`Error::Shape`]
    /// if there is no gate or the gate logits or costs are not of these gates.
    pub fn loss(&self, input: &GateLossInput<'_>) -> Result<Tensor> {
        let GateLossInput { gates, gate_logits, evaluated, costs, latency, progress } = *input;
        let values = gates.values();
        if gate_logits.dims().len() != 2
            || gate_logits.dims()[0] != values.dims()[0]
            || gate_logits.dims()[1] > values.dims()[1]
        {
            return Err(Error::Shape {
                op: "gate_loss",
                rule: "the gate logits must be (N, one for each gate or shared gate)",
                got: format!("{} for gates {}", gate_logits.shape(), values.shape()),
            });
        }
        match *self {
            GateLoss::L1 => l1_loss(values),
            GateLoss::TargetRate { target } => {
                target_rate(&counted(values, evaluated)?, &gates.widths(), target.into())
            }
            GateLoss::TargetMacs { target } => {
                let values = counted(values, evaluated)?;
                target_cost(&values, &gates.widths(), costs, target.into(), progress)
            }
            GateLoss::TargetLatency { target } => {
                let Some(latency) = latency else {
                    let (field, value) = ("target_latency", target.to_string());
                    let rule = "a model knows its latency only after it was measured on this \
                                machine, with measure_latency and with_latency";
                    return Err(Error::Config { field, value, rule });
                };
                let values = counted(values, evaluated)?;
                target_cost(&values, &gates.widths(), latency, target.into(), progress)
            }
            GateLoss::BatchShaping { a, b } => {
                batch_shaping(&ops::sigmoid(gate_logits)?, a.into(), b.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{ConvMacs, ConvTime, TimeTable};

    fn gates() -> Gates {
        let values = vec![1.0, 0.0, 0.5, 0.0, 1.0, 1.0];
        let values = Tensor::new(values, [2, 3]).expect("6 values").leaf();
        Gates::new(values, &[1, 2]).expect("1 + 2 = 3")
    }

    fn costs() -> MacCosts {
        let conv = ConvMacs { macs: 10.0, filters: Some(0), channels: Some(1) };
        MacCosts { blocks: vec![vec![conv]], ..MacCosts::default() }
    }

    #[test]
    fn each_kind_is_its_function() {
        let (gates, costs) = (gates(), costs());
        let conv = ConvTime { filters: Some(0), channels: Some(1), table: 0 };
        let table = TimeTable::new(&[0.5, 1.0], |f, c| (1 + f + 2 * c) as f64).expect("a table");
        let latency = LatencyCosts {
            plain: 4.0,
            fixed: 0.5,
            convs: vec![conv],
            tables: vec![table],
            layers: 2,
        };
        let gate_logits =
            Tensor::new(vec![0.3, -0.2, 1.0, 2.0, -1.0, 0.1], [2, 3]).expect("6 values");
        let gate_logits = gate_logits.leaf();
        let values = gates.values();
        let evaluated = Tensor::new(vec![1.0, 0.0, 1.0, 1.0, 0.0, 1.0], [2, 3]).expect("6 values");
        let input = GateLossInput {
            gates: &gates,
            gate_logits: &gate_logits,
            evaluated: &evaluated,
            costs: &costs,
            latency: Some(&latency),
            progress: 0.1,
        };
        let probabilities = ops::sigmoid(&gate_logits).expect("any");
        for (loss, want) in [
            (GateLoss::L1, l1_loss(values)),
            (GateLoss::TargetRate { target: 0.25 }, target_rate(&evaluated, &[1, 2], 0.25)),
            (
                GateLoss::TargetMacs { target: 0.25 },
                target_cost(&evaluated, &[1, 2], &costs, 0.25, 0.1),
            ),
            (
                GateLoss::TargetLatency { target: 0.5 },
                target_cost(&evaluated, &[1, 2], &latency, 0.5, 0.1),
            ),
            (GateLoss::BatchShaping { a: 2.0, b: 5.0 }, batch_shaping(&probabilities, 2.0, 5.0)),
        ] {
            loss.validate().expect("in range");
            let got = loss.loss(&input).and_then(|loss| loss.item()).expect("fits");
            assert_eq!(got, want.and_then(|want| want.item()).expect("fits"), "{loss:?}");
            let grads = loss.loss(&input).and_then(|loss| loss.backward());
            // Whatever the loss looks at, the gradient goes to the gates of the pass or to the gate
            // logits.
            let grads = grads.expect("in a graph");
            let trains = grads.of(values).is_ok() != grads.of(&gate_logits).is_ok();
            assert!(trains, "{loss:?} has no gradient");
            let json = serde_json::to_string(&loss).expect("plain data");
            assert_eq!(serde_json::from_str::<GateLoss>(&json).expect(&json), loss);
        }
        let other = Tensor::zeros([2, 4]).expect("small");
        assert!(GateLoss::L1.loss(&GateLossInput { gate_logits: &other, ..input }).is_err());
        let unmeasured = GateLossInput { latency: None, ..input };
        let error = GateLoss::TargetLatency { target: 0.3 }.loss(&unmeasured).expect_err("unknown");
        assert!(error.to_string().contains("target_latency = 0.3: a model knows"), "{error}");
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        for (loss, text) in [
            (GateLoss::TargetRate { target: -0.3 }, "target_rate = -0.3:"),
            (GateLoss::TargetMacs { target: f32::NAN }, "target_macs = NaN"),
            (GateLoss::TargetLatency { target: 0.0 }, "target_latency = 0:"),
            (GateLoss::TargetMacs { target: -0.3 }, "target_macs = -0.3:"),
            (GateLoss::BatchShaping { a: 100.3, b: 1.0 }, "beta a = 100.3:"),
            (GateLoss::BatchShaping { a: 0.0, b: 1.0 }, "beta a = 0"),
            (GateLoss::BatchShaping { a: 1.0, b: f32::INFINITY }, "beta b = inf"),
        ] {
            let error = loss.validate().expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
        }
        let parse = |json: &str| serde_json::from_str::<GateLoss>(json);
        assert!(parse(r#"{"target_rate": {"target": 0.5, "layers": 3}}"#).is_err());
    }
}
