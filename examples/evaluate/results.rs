//! What is printed.

use anyhow::Result;
use gaternet::cli::image_check::Skipped;
use gaternet::cli::table::{millions, percent, print_table};
use gaternet::models::DType;
use serde_json::{Value, json};

use crate::distribution::{Distribution, Image, print_classes};
use gaternet::models::train::Evaluation;

/// What is printed.
pub(crate) struct Results<'a> {
    pub(crate) data: String,
    /// Image files that were left out.
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) dtype: DType,
    pub(crate) images: Vec<Image>,
    /// Whose images are shown apart.
    pub(crate) classes: Option<&'a [String]>,
    /// Of the gates, where there is a budget.
    pub(crate) threshold: Option<f32>,
    pub(crate) evaluation: Evaluation,
    pub(crate) macs: Distribution,
    pub(crate) images_per_second: f64,
}

impl Results<'_> {
    /// One object.
    pub(crate) fn json(&self) -> Result<Value> {
        let Evaluation { accuracy, loss, gate_density, cost, densities, inactive_layers } =
            &self.evaluation;
        let Distribution { sd, min, max, .. } = &self.macs;
        let mut object = json!({
            "data": self.data,
            "images": self.images.len(),
            "dtype": self.dtype.to_string(),
            "accuracy": accuracy,
            "loss": loss,
            "gate_density": gate_density,
            "layer_densities": densities,
            "macs_plain": cost.backbone,
            "macs_gated": cost.executed + cost.gater,
            "macs_gater": cost.gater,
            "macs_ratio": cost.ratio(),
            "macs_sd": sd,
            "macs_min": min,
            "macs_max": max,
            "inactive_layers": inactive_layers,
            "images_per_second": self.images_per_second,
        });
        if let Some(threshold) = self.threshold {
            object["gate_threshold"] = json!(threshold);
        }
        if !self.skipped.is_empty() {
            let skipped = self.skipped.iter();
            let skipped = skipped.map(|Skipped { path, reason }| {
                json!({ "path": path.display().to_string(), "reason": reason })
            });
            object["skipped"] = skipped.collect();
        }
        if let Some(classes) = self.classes {
            let class = |(number, name): (usize, &String)| {
                let mut of = serde_json::to_value(Distribution::new(&self.images, Some(number)))?;
                of["class"] = json!(name);
                Ok(of)
            };
            object["classes"] = classes.iter().enumerate().map(class).collect::<Result<_>>()?;
        }
        Ok(object)
    }

    /// A table.
    pub(crate) fn print(&self) -> Result<()> {
        let Evaluation { accuracy, loss, gate_density, cost, .. } = &self.evaluation;
        let gated = cost.executed + cost.gater;
        let mut rows = vec![
            ("data", format!("{}, {} test images", self.data, self.images.len())),
            ("dtype", self.dtype.to_string()),
            ("accuracy", percent(*accuracy)),
            ("loss", format!("{loss:.4}")),
            ("gates open", percent(*gate_density)),
            ("MACs per image, plain backbone", millions(cost.backbone)),
            ("MACs per image, gated", format!("{} ({:.3}x)", millions(gated), cost.ratio())),
            ("  of which gater", millions(cost.gater)),
            ("  standard deviation (range)", self.macs.spread()),
            ("speed", format!("{:.0} images/s", self.images_per_second)),
        ];
        if let Some(threshold) = self.threshold {
            rows.insert(4, ("gate threshold", format!("{threshold:.4}")));
        }
        print_table(&rows)?;
        if let Some(classes) = self.classes {
            print_classes(classes, &self.images)?;
        }
        Ok(())
    }
}
