//! Serves a model: one inference plan answers the requests of many threads.
//!
//! `cargo run --release --example serve -- --checkpoint runs/NAME`

mod requests;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use gaternet::cli::command_line::parse;
use gaternet::cli::report::{exit_code, say};
use gaternet::prelude::*;

use crate::requests::{Requests, resident_kib};

/// Serves a model on this machine: threads take requests, one plan answers them all.
///
/// Every answer is compared with that of one thread alone, bit by bit. Then each thread gets a plan
/// of its own, in turns with the one for all, so that the two rates can be compared. Images are
/// noise.
#[derive(Debug, Parser)]
#[command(name = "serve", verbatim_doc_comment)]
struct Args {
    /// Model file or run folder [default: a gated ResNet-20 with fresh weights]
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,

    /// Threads that take requests
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    threads: usize,

    /// Images of a request
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    batch: usize,

    /// Images of all requests of a measurement
    #[arg(long, value_name = "COUNT", default_value_t = 4000)]
    images: usize,

    /// Measurements of each way, in turns; their median is shown
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    rounds: usize,
}

fn main() -> ExitCode {
    exit_code(run(&parse()))
}

fn run(args: &Args) -> Result<()> {
    let Args { threads, batch, images, rounds, .. } = *args;
    ensure!(threads * batch * images * rounds > 0, "there must be a thread, an image and a round");
    let model = match &args.checkpoint {
        Some(path) => Model::load(path)?,
        None => Model::Gated(GatedResNet::new(GatedConfig::cifar(20, 10), 0)?.into()),
    };
    let options = PlanOptions { batch, ..PlanOptions::default() };
    let shared = InferencePlan::new(&model, options)?;
    let requests = Requests::new(&shared, batch)?;
    let own = (0..threads).map(|_| InferencePlan::new(&model, options));
    let own = own.collect::<Result<Vec<_>, _>>()?;
    // A clone is the same plan.
    let shared = vec![shared; threads];

    requests.serve(&shared, images.div_ceil(10))?;
    let before = resident_kib();
    let mut times: [Vec<Duration>; 2] = Default::default();
    times[0].push(requests.serve(&shared, images)?);
    let after = resident_kib();
    times[1].push(requests.serve(&own, images)?);
    for _ in 1..rounds {
        times[0].push(requests.serve(&shared, images)?);
        times[1].push(requests.serve(&own, images)?);
    }
    let rate = |times: &mut Vec<Duration>| {
        times.sort();
        images as f64 / times[times.len() / 2].as_secs_f64()
    };
    let [one, each] = times.each_mut().map(rate);
    say!(
        "{images} images in requests of {batch} on {threads} threads, every answer the same bits"
    )?;
    say!("one plan for all     {one:8.0} images/s")?;
    say!("a plan per thread    {each:8.0} images/s: one for all is {:.2}x as fast", one / each)?;
    if let (Some(before), Some(after)) = (before, after) {
        let grown = 100.0 * (after as f64 / before as f64 - 1.0);
        say!(
            "resident memory      {before} KiB after the warm-up, {after} KiB after: {grown:+.2} %"
        )?;
    }
    Ok(())
}
