//! Trains a gated network on images of one's own, on a GPU if there is one. Stopped with Ctrl-C and
//! started again, it goes on after the last epoch that it has done.
//!
//! `cargo run --release --example train_own_data`

use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::path::Path;

use gaternet::core::data::{Augment, InMemory};
use gaternet::core::optim::{Decay, Schedule};
use gaternet::kernels::Device;
use gaternet::models::train::{
    Data, Existing, Metrics, Observer, Outcome, PhaseName, Place, Recipe, Steps, Trainer, Warning,
};
use gaternet::models::{GatePlacement, GatedConfig, GaterConfig};

/// Stripes of 24x24 pixels in one of three directions, each with a phase, a width and a colour of
/// its own.
fn stripes(first: usize, count: usize) -> gaternet::core::Result<InMemory> {
    let image = |i: usize| {
        let (x, y) = [(1, 0), (0, 1), (1, 1)][i % 3];
        let (phase, width, colour) =
            (i * 7 % 5, 3 + i * 11 % 4, [90 + i * 37 % 160, i * 53 % 200, 160]);
        let lit = move |at: usize| (x * (at % 24) + y * (at / 24) + phase) / width % 2;
        colour
            .into_iter()
            .flat_map(move |level| (0..24 * 24).map(move |at| (level * lit(at)) as u8))
    };
    let numbers = first..first + count;
    let labels = numbers.clone().map(|i| i % 3).collect();
    let classes = ["columns", "rows", "diagonals"].map(str::to_owned).to_vec();
    InMemory::new(numbers.flat_map(image).collect(), [3, 24, 24], labels, classes)
}

/// A line for each epoch, and whatever there is to say.
struct Lines;

impl Observer for Lines {
    fn steps_done(&mut self, steps: &Steps<'_>) {
        let Steps { epoch, sums, .. } = *steps;
        let _ = write!(stderr(), "\repoch {epoch}: loss {:.3} ", sums.mean_loss());
    }

    fn epoch_ends(&mut self, _: PhaseName, metrics: &Metrics) {
        let Metrics { test_accuracy, gate_density, macs_ratio, .. } = metrics;
        let _ = writeln!(
            stderr(),
            "accuracy {test_accuracy:.3}, gates open {gate_density:.3}, MACs {macs_ratio:.3}x"
        );
    }

    fn warning(&mut self, warning: &Warning) {
        let _ = writeln!(stderr(), "{warning}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let gater = GaterConfig { depth: 8, width: 0.5, pool: 2, ..GaterConfig::default() };
    let placement = GatePlacement::Inner;
    let recipe = Recipe {
        epochs: 4,
        batch_size: 32,
        schedule: Schedule::new(0.1, Decay::Cosine { last: 0.0 }).with_warmup(0.1),
        ema: Some(0.98),
        // Mirrored, a diagonal is none.
        augment: Augment { flip: false, crop_padding: 2, ..Augment::train() },
        ..Recipe::gated(GatedConfig { gater, placement, ..GatedConfig::cifar(8, 3) })
    };
    let data = Data::new("stripes", stripes(0, 600)?, stripes(600, 150)?);
    let dir = Path::new("runs/own-data");
    let device = Device::best();
    let place = Place { existing: Existing::Resume, device, ..Place::new(dir) };
    let trainer = Trainer::new(recipe, &data, place)?;
    let model = trainer.folder().model_path();
    if let Outcome::Complete(results) = trainer.run(&mut Lines)? {
        let accuracy = results.epochs.last().map_or(0.0, |epoch| epoch.test_accuracy);
        writeln!(stdout(), "test accuracy {accuracy:.3}; the model is {}", model.display())?;
    }
    Ok(())
}
