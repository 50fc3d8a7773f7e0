//! The images of a run.

use anyhow::Result;
use gaternet::cli::image_check::{self, checked};
use gaternet::cli::sets::Sets;
use gaternet::models::train::{Data, Skipped};

use crate::args_data::DataArgs;

/// The sets of a run, looked at; the built-in ones are drawn from `seed`.
pub(crate) fn open(args: &DataArgs, seed: u64) -> Result<Data> {
    let sets = match args.built_in() {
        true => Sets::built_in(seed, args.train_images, args.test_images)?,
        false => Sets::open(args.dir())?,
    };
    let name = sets.name().to_owned();
    let ([train, test], skipped) = checked(sets.images, args.skip_bad)?;
    let skipped = skipped.into_iter();
    let skipped = skipped.map(|image_check::Skipped { path, reason }| Skipped { path, reason });
    Ok(Data { skipped: skipped.collect(), ..Data::new(name, train, test) })
}
