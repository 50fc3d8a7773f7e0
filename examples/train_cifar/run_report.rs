//! What a run says before its first epoch and after its last one.

use std::path::Path;

use anyhow::Result;
use gaternet::cli::note::note;
use gaternet::cli::table::{millions, percent, print_table};
use gaternet::core::data::SYNTHETIC;
use gaternet::kernels::Device;
use gaternet::models::Model;
use gaternet::models::train::{Metrics, Position, Results, RunFolder, Standing, Trainer};

/// What will be trained, on stderr.
pub(crate) fn announce(trainer: &Trainer) {
    let [train, test] = trainer.image_counts();
    let name = match trainer.data_name() {
        SYNTHETIC => "the built-in set (--data DIR trains on CIFAR or image files)",
        name => name,
    };
    let (recipe, model) = (trainer.recipe(), trainer.model());
    let gated = if matches!(model, Model::Gated(_)) { "gated" } else { "plain" };
    note(format_args!("{gated} {} on {name}, {train} + {test} images", recipe.backbone()));
    if !trainer.skipped().is_empty() {
        let skipped = trainer.skipped().len();
        note(format_args!("without {skipped} image files that cannot be read"));
    }
    let pretraining = match model {
        Model::Gated(_) if recipe.gater.pretrain > 0 => format!("{} + ", recipe.gater.pretrain),
        _ => String::new(),
    };
    note(format_args!(
        "{} parameters, {pretraining}{} epochs of {} steps, seed {}, results in {}",
        gaternet::core::nn::Module::parameter_count(model),
        recipe.epochs,
        trainer.steps_per_epoch(),
        recipe.seed,
        trainer.folder().dir().display()
    ));
    if !matches!(trainer.device(), Device::Cpu) {
        note(format_args!("on {}", trainer.device()));
    }
    match trainer.standing() {
        Standing::Begins => {}
        Standing::GoesBeyond(Position { epoch, .. }) => note(format_args!(
            "goes on beyond its end, after epoch {epoch}: the learning rate is that of {} \
             epochs from here on, and velocities begin at 0",
            recipe.epochs
        )),
        Standing::GoesOn(Position { phase, epoch, step: 0 }) => {
            note(format_args!("goes on after epoch {epoch} of the {phase}"));
        }
        Standing::GoesOn(Position { phase, epoch, step }) => {
            note(format_args!("goes on after step {step} of epoch {} of the {phase}", epoch + 1));
        }
        Standing::Complete => note("complete: nothing is left to do"),
    }
}

/// `--dry-run`: what a run would do.
pub(crate) fn describe(trainer: &Trainer) -> Result<()> {
    trainer.warnings().iter().for_each(note);
    announce(trainer);
    let cost = trainer.model().cost(trainer.image_size(), None)?;
    let gates = match trainer.model() {
        Model::Gated(model) if model.plan().filters_per_gate() > 1 => {
            let plan = model.plan();
            format!("{} shared by {} filters", plan.outputs(), plan.gates())
        }
        Model::Gated(model) => model.plan().gates().to_string(),
        Model::Plain(_) => "0".to_owned(),
    };
    print_table(&[
        ("MACs per image, plain backbone", millions(cost.backbone)),
        ("MACs per image, gater", millions(cost.gater)),
        ("gates", gates),
    ])?;
    let metadata = trainer.metadata().iter();
    let rows: Vec<_> = metadata.map(|(name, value)| (name.as_str(), value.clone())).collect();
    print_table(&rows)?;
    Ok(())
}

/// How a run goes on that was stopped at `position`, on stderr; `out` is the folder of --out.
pub(crate) fn say_how_to_go_on(position: Position, steps_per_epoch: usize, out: &Path) {
    let Position { phase, epoch, step } = position;
    let program = std::env::args().next().unwrap_or_default();
    note(format_args!(
        "saved after step {step} of {steps_per_epoch} in epoch {} of the {phase}; go on with\n  {program} \
         --out {} --resume",
        epoch + 1,
        out.display()
    ));
}

/// What the results of a run are printed with.
pub(crate) struct RunReport {
    data_name: String,
    folder: RunFolder,
    /// Of an image in the plain backbone.
    plain_macs: f64,
    target_macs: Option<f32>,
    target_latency: Option<f32>,
}

impl RunReport {
    pub(crate) fn new(trainer: &Trainer) -> Result<RunReport> {
        Ok(RunReport {
            data_name: trainer.data_name().to_owned(),
            folder: trainer.folder().clone(),
            plain_macs: trainer.model().cost(trainer.image_size(), None)?.backbone,
            target_macs: trainer.recipe().target_macs(),
            target_latency: trainer.recipe().target_latency(),
        })
    }

    /// Prints the results; `last` are those of the last epoch.
    pub(crate) fn print(&self, results: &Results, last: &Metrics) -> Result<()> {
        let seconds: f64 = results.epochs.iter().map(|epoch| epoch.seconds).sum();
        let (ratio, gated) = (last.macs_ratio, last.macs_ratio * self.plain_macs);
        let target = match self.target_macs {
            Some(target) => format!(", the target is {target}x"),
            None => String::new(),
        };
        let mut rows = vec![
            ("data", self.data_name.clone()),
            ("test accuracy", percent(last.test_accuracy)),
            ("gates open", percent(last.gate_density)),
            ("MACs per image, plain backbone", millions(self.plain_macs)),
            (
                "MACs per image, gater included",
                format!("{} ({ratio:.3}x{target})", millions(gated)),
            ),
            ("time of training", format!("{seconds:.0} s")),
            ("metrics", self.folder.metrics_path().display().to_string()),
            ("model", self.folder.model_path().display().to_string()),
        ];
        if let (Some(ratio), Some(target)) = (last.latency_ratio, self.target_latency) {
            let text = format!("{ratio:.3}x the plain network's, the target is {target}x");
            rows.insert(5, ("predicted time of a batch, gater included", text));
        }
        if let Some(evaluation) = &results.evaluation {
            rows.insert(2, ("test loss", format!("{:.4}", evaluation.loss)));
        }
        print_table(&rows)?;
        Ok(())
    }
}
