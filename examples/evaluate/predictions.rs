//! What a model says of each image.

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use gaternet::core::checkpoint::replace_file;
use gaternet::core::data::{Dataset, ImageSource};
use serde_json::{Value, json};

use crate::distribution::Image;

/// Writes a line for each of `images`, which are those of `source` in its order.
pub(crate) fn write_predictions(path: &Path, images: &[Image], source: &ImageSource) -> Result<()> {
    let classes = source.classes();
    let name = |number: usize| -> Value {
        match source.path(number) {
            Some(path) => json!(path.display().to_string()),
            None => json!(number),
        }
    };
    Ok(replace_file(path, |file| {
        let mut out = BufWriter::new(file);
        for (number, Image { class, predicted, macs }) in images.iter().enumerate() {
            let line = json!({
                "image": name(number),
                "class": classes[*class],
                "predicted": classes[*predicted],
                "macs": macs,
            });
            writeln!(out, "{line}")?;
        }
        out.flush()
    })?)
}
