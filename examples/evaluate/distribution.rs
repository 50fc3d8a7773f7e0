//! How what an image costs differs from image to image.

use gaternet::cli::report::{OutputError, say};
use gaternet::cli::table::{millions, percent};

use gaternet::core::Tensor;
use gaternet::models::train::predictions;
use serde::Serialize;

/// An image of the test set, evaluated.
pub(crate) struct Image {
    pub(crate) class: usize,
    pub(crate) predicted: usize,
    /// Executed, gater included.
    pub(crate) macs: f64,
}

/// Of some images.
#[derive(Debug, Serialize)]
pub(crate) struct Distribution {
    pub(crate) images: usize,
    /// Share of images classified correctly, 0 to 1.
    pub(crate) accuracy: f64,
    /// Executed MACs of an image, gater included.
    pub(crate) mean: f64,
    /// Standard deviation over the images.
    pub(crate) sd: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Image {
    /// The images of a batch: labels (N), logits (N, classes), MACs (N).
    pub(crate) fn of_batch<'a>(
        labels: &'a [usize],
        logits: &'a Tensor,
        macs: &'a [f64],
    ) -> impl Iterator<Item = Image> + 'a {
        let results = predictions(logits, labels.len()).zip(labels).zip(macs);
        results.map(|((predicted, &class), &macs)| Image { class, predicted, macs })
    }
}

impl Distribution {
    /// Of all images, or of one class.
    pub(crate) fn new(images: &[Image], class: Option<usize>) -> Distribution {
        let images = images.iter().filter(|image| class.is_none_or(|class| image.class == class));
        let count = images.clone().count();
        // A class without images has none of these.
        let mean_of = |of: &dyn Fn(&Image) -> f64| -> f64 {
            images.clone().map(of).sum::<f64>() / count.max(1) as f64
        };
        let mean = mean_of(&|image| image.macs);
        let macs = images.clone().map(|image| image.macs);
        Distribution {
            images: count,
            accuracy: mean_of(&|image| f64::from(u8::from(image.predicted == image.class))),
            mean,
            sd: mean_of(&|image| (image.macs - mean).powi(2)).sqrt(),
            min: macs.clone().reduce(f64::min).unwrap_or(0.0),
            max: macs.reduce(f64::max).unwrap_or(0.0),
        }
    }

    /// Standard deviation and range: `1.20 M (57.00 M to 64.91 M)`.
    pub(crate) fn spread(&self) -> String {
        let Distribution { sd, min, max, .. } = self;
        format!("{} ({} to {})", millions(*sd), millions(*min), millions(*max))
    }
}

/// A line for each class.
pub(crate) fn print_classes(classes: &[String], images: &[Image]) -> Result<(), OutputError> {
    let width = classes.iter().map(String::len).max().unwrap_or(0).max("class".len());
    say!(
        "\n{:width$} {:>6} {:>9} {:>11} {:>9} {:>11} {:>11}",
        "class",
        "images",
        "accuracy",
        "MACs, mean",
        "sd",
        "least",
        "most"
    )?;
    for (number, class) in classes.iter().enumerate() {
        let of = Distribution::new(images, Some(number));
        let [mean, sd, min, max] = [of.mean, of.sd, of.min, of.max].map(millions);
        let accuracy = percent(of.accuracy);
        say!(
            "{class:width$} {:>6} {accuracy:>9} {mean:>11} {sd:>9} {min:>11} {max:>11}",
            of.images
        )?;
    }
    Ok(())
}
