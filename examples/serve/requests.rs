//! Requests of random images, and what one thread answers.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use gaternet::prelude::*;

/// Different requests.
const KINDS: usize = 64;

pub(crate) struct Requests {
    /// Images of a request.
    batch: usize,
    /// Images (N, C, H, W) and the logits (N, classes) that one thread makes of them.
    kinds: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Requests {
    /// Of `batch` images each.
    pub(crate) fn new(plan: &InferencePlan, batch: usize) -> Result<Requests> {
        let [channels, h, w] = plan.image();
        let mut noise = Ctx::train(0);
        let kinds = (0..KINDS).map(|_| {
            let images = Tensor::randn([batch, channels, h, w], 1.0, noise.rng())?;
            let logits = plan.forward(&images)?;
            Ok((images.data().to_vec(), logits.data().to_vec()))
        });
        Ok(Requests { batch, kinds: kinds.collect::<Result<_>>()? })
    }

    /// Serves requests of so many images in all, on a thread for each plan; how long it took.
    pub(crate) fn serve(&self, plans: &[InferencePlan], images: usize) -> Result<Duration> {
        let (count, next) = (images.div_ceil(self.batch), AtomicUsize::new(0));
        let answer = |plan: &InferencePlan| -> Result<()> {
            let mut logits = vec![0.0; self.batch * plan.classes()];
            loop {
                let request = next.fetch_add(1, Ordering::Relaxed);
                if request >= count {
                    return Ok(());
                }
                let (images, want) = &self.kinds[request % KINDS];
                plan.run(images, &mut logits)?;
                ensure!(logits == *want, "request {request}: not what one thread answers");
            }
        };
        let start = Instant::now();
        thread::scope(|scope| -> Result<()> {
            let answer = &answer;
            let threads: Vec<_> =
                plans.iter().map(|plan| scope.spawn(move || answer(plan))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
        })?;
        Ok(start.elapsed())
    }
}

/// Memory of this process that is there, in KiB, where the system tells.
pub(crate) fn resident_kib() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
