//! The command line as a recipe, its defaults settled and its values checked under the names of the
//! options.

use anyhow::{Result, ensure};
use gaternet::models::train::{Architecture, GaterTraining, Recipe};
use gaternet::models::{BackboneConfig, DType, GatedConfig};

use crate::args::Args;
use crate::args_optim::not_negative;

/// Runs of `--repeat`, at most.
const MAX_SEEDS: usize = 1000;

/// What is to be trained, and how.
pub(crate) fn of(args: &Args) -> Result<Recipe> {
    let Args { data, optim, augment, run, .. } = args;
    for (flag, count) in [
        ("--epochs", optim.epochs.unwrap_or(1)),
        ("--batch-size", optim.batch_size),
        ("--train-images", data.train_images),
        ("--test-images", data.test_images),
        ("--latency-batch", args.gates.latency_batch),
        ("--repeat", run.repeat.unwrap_or(1)),
        ("--stop-after", run.stop_after.unwrap_or(1)),
    ] {
        ensure!(count > 0, "{flag} 0: must be at least 1");
    }
    let seeds = run.repeat.unwrap_or(1);
    ensure!(seeds <= MAX_SEEDS, "--repeat {seeds}: must be at most {MAX_SEEDS}");
    if let Some(norm) = optim.clip_grad_norm {
        not_negative("--clip-grad-norm", norm)?;
    }
    if let Some(decay) = optim.ema {
        let good = (0.0..1.0).contains(&decay);
        ensure!(good, "--ema {decay}: must be at least 0 and below 1");
    }
    let starts = args.backbone.checkpoint.is_some() || args.backbone.backbone_checkpoint.is_some();
    ensure!(
        starts || !args.backbone.new_head,
        "--new-head: there is no --checkpoint or --backbone-checkpoint whose head it replaces"
    );
    let label_smoothing = augment.label_smoothing;
    let valid = (0.0..=1.0).contains(&label_smoothing);
    ensure!(valid, "--label-smoothing {label_smoothing}: must be between 0 and 1");
    let backbone = args.backbone.config();
    backbone.validate()?;
    let network = match args.backbone.dense {
        true => Architecture::Plain(backbone),
        false => Architecture::Gated(gated(args, backbone)?),
    };
    let recipe = Recipe {
        network,
        backbone_checkpoint: args.backbone.backbone_checkpoint.clone(),
        checkpoint: args.backbone.checkpoint.clone(),
        new_head: args.backbone.new_head,
        classes_by_name: data.classes_by_name,
        gater: gater_training(args)?,
        epochs: optim.epochs.unwrap_or(if data.built_in() { 5 } else { 15 }),
        batch_size: optim.batch_size,
        drop_last: optim.drop_last,
        schedule: optim.schedule()?,
        weight_decay: optim.weight_decay()?,
        clip_grad_norm: optim.clip_grad_norm,
        ema: optim.ema,
        label_smoothing,
        augment: augment.augment()?,
        test_augment: augment.test_augment(),
        mixup: augment.mixup()?,
        dtype: run.dtype.map_or(DType::Bf16, DType::from),
        seed: run.seed,
    };
    if let (Some(rate), peak) = (recipe.gater.learning_rate, recipe.schedule.peak) {
        let good = ((rate / peak) as f32).is_finite();
        ensure!(good, "--gater-lr {rate} with --lr {peak}: --lr must not be so small");
    }
    recipe.validate()?;
    Ok(recipe)
}

fn gated(args: &Args, backbone: BackboneConfig) -> Result<GatedConfig> {
    let gater = &args.gater;
    Ok(GatedConfig {
        placement: gater.placement.into(),
        gate_overrides: gater.gate.clone(),
        filters_per_gate: gater.filters_per_gate,
        min_active: gater.min_active(),
        zero_init: gater.zero_init,
        gater: gater.config(args.data.built_in()),
        estimator: args.gates.estimator()?,
        gate_losses: args.gates.losses()?,
        ..GatedConfig::new(backbone)
    })
}

fn gater_training(args: &Args) -> Result<GaterTraining> {
    let training = &args.gater_training;
    if let Some(lr) = training.gater_lr {
        not_negative("--gater-lr", lr)?;
    }
    if let Some(decay) = training.gater_weight_decay {
        not_negative("--gater-weight-decay", decay)?;
    }
    Ok(GaterTraining {
        checkpoint: training.gater_checkpoint.clone(),
        pretrain: training.pretrain_gater,
        learning_rate: training.gater_lr,
        weight_decay: training.gater_weight_decay,
        warm_up: training.warm_up(),
        latency_batch: args.gates.latency_batch,
    })
}
