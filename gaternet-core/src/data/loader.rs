//! Batches, prepared in the background.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rand::seq::SliceRandom;

use super::{Augment, ImageSource, stream};
use crate::{Error, Result, Tensor};

/// Batches that are prepared at once: the thread pool has work while the last image of one is not
/// ready.
const LANES: usize = 2;
/// Batches of each lane that wait ready while the model computes.
const PREFETCH: usize = 1;

/// How a [`Loader`] goes through its images.
#[derive(Debug, Clone)]
pub struct LoaderConfig {
    /// Images of a batch; the last one of an epoch holds what is left.
    pub batch_size: usize,
    /// Leaves out the last batch of an epoch if it has fewer images than the others.
    pub drop_last: bool,
    /// A new order every epoch, or that of the data set.
    pub shuffle: bool,
    /// Decides the order and the augmentation, together with the number of the epoch.
    pub seed: u64,
    /// What is done to every image.
    pub augment: Augment,
}

/// A batch of images and what they show.
#[derive(Debug, Clone)]
pub struct Batch {
    /// (N, 3, S, S), augmented and normalised; S is [`Augment::side`].
    pub images: Tensor,
    /// (N).
    pub labels: Vec<usize>,
}

/// Epochs of batches of one data set.
#[derive(Debug, Clone)]
pub struct Loader {
    data: ImageSource,
    config: LoaderConfig,
}

impl Loader {
    /// A loader of `data`, a [`Dataset`](super::Dataset) or an [`ImageFolder`](super::ImageFolder).
    ///
    /// # Errors
    /// [`Error::Config`] if the batch size is 0 or larger than the data set, or a field of the
    /// augmentation is unusable, by itself or with these images (see [`Augment::batch`]).
    pub fn new(data: impl Into<ImageSource>, config: LoaderConfig) -> Result<Loader> {
        let data = data.into();
        config.augment.check()?;
        if let ImageSource::Memory(data) = &data {
            config.augment.check_padding(data.size())?;
        }
        if config.batch_size == 0 || config.batch_size > data.len() {
            return Err(Error::Config {
                field: "batch_size",
                value: format!("{} of {} images", config.batch_size, data.len()),
                rule: "must be 1 to the number of images",
            });
        }
        Ok(Loader { data, config })
    }

    /// The images.
    #[must_use]
    pub fn dataset(&self) -> &ImageSource {
        &self.data
    }

    /// Batches of an epoch; a last, smaller one counts unless it is dropped.
    #[must_use]
    pub fn batches(&self) -> usize {
        let LoaderConfig { batch_size, drop_last, .. } = self.config;
        match drop_last {
            true => self.data.len() / batch_size,
            false => self.data.len().div_ceil(batch_size),
        }
    }

    /// Images that an epoch shows, N unless some are in a last batch that is dropped.
    #[must_use]
    pub fn images(&self) -> usize {
        self.data.len().min(self.batches() * self.config.batch_size)
    }

    /// The batches of epoch `epoch`, prepared by two threads of their own that are at most a few
    /// batches ahead and end when the iterator is dropped.
    #[must_use]
    pub fn epoch(&self, epoch: u64) -> Batches {
        self.epoch_from(epoch, 0)
    }

    /// [`epoch`](Self::epoch) without its first `skipped` batches, which are not read: the rest of
    /// an epoch that was interrupted. Each batch is the one that the whole epoch has there.
    #[must_use]
    pub fn epoch_from(&self, epoch: u64, skipped: usize) -> Batches {
        let order = Arc::new(self.order(epoch));
        let lanes = (0..LANES).map(|lane| {
            let (sender, receiver) = sync_channel(PREFETCH);
            let worker = thread::Builder::new().name("gaternet-loader".into()).spawn({
                let (loader, order, sender) = (self.clone(), order.clone(), sender.clone());
                move || loader.produce(epoch, &order, skipped + lane, &sender)
            });
            let worker = worker
                .map_err(|source| {
                    let error = Error::Thread { name: "gaternet-loader", source };
                    // The channel is empty and its receiver is here: neither blocks nor fails.
                    sender.send(Err(error)).ok();
                })
                .ok();
            (receiver, worker)
        });
        let (receivers, workers) = lanes.collect();
        Batches { receivers, workers, next: 0 }
    }

    /// The numbers of all images in the order in which `epoch` goes through them.
    #[must_use]
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.data.len()).collect();
        if self.config.shuffle {
            // The streams 0..N are those of the images.
            order.shuffle(&mut stream(self.config.seed, epoch, u64::MAX));
        }
        order
    }

    /// Sends the batches of a lane, whose first has the number `first`, or up to one that nobody
    /// waits for.
    fn produce(
        &self,
        epoch: u64,
        order: &[usize],
        first: usize,
        sender: &SyncSender<Result<Batch>>,
    ) {
        let LoaderConfig { batch_size, seed, ref augment, .. } = self.config;
        let batches = order.chunks(batch_size).take(self.batches());
        for indices in batches.skip(first).step_by(LANES) {
            let batch = self.data.batch(augment, indices, seed, epoch).map(|images| Batch {
                images,
                labels: indices.iter().map(|&i| self.data.labels()[i]).collect(),
            });
            if sender.send(batch).is_err() {
                return;
            }
        }
    }
}

/// The batches of one epoch; see [`Loader::epoch`].
#[derive(Debug)]
pub struct Batches {
    receivers: Vec<Receiver<Result<Batch>>>,
    workers: Vec<Option<JoinHandle<()>>>,
    /// The lane of the next batch.
    next: usize,
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        let batch = self.receivers.get(self.next)?.recv().ok();
        self.next = (self.next + 1) % LANES;
        if batch.is_none() {
            self.join();
        }
        batch
    }
}

impl Batches {
    /// Waits for the workers, and carries on the panic of one: an epoch must not look shorter than
    /// it is.
    fn join(&mut self) {
        self.receivers.clear();
        let workers = self.workers.drain(..).flatten();
        let ends: Vec<_> = workers.map(JoinHandle::join).collect();
        if let Some(panic) = ends.into_iter().find_map(thread::Result::err)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.join();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dataset, IMAGE_LEN};
    use super::*;

    /// Image i is all i, of class i.
    fn loader(n: usize, batch_size: usize, shuffle: bool) -> Loader {
        let images = (0..n).flat_map(|i| vec![i as u8; IMAGE_LEN]).collect();
        let classes = (0..n).map(|i| i.to_string()).collect();
        let data = Dataset::new(images, (0..n).collect(), classes).expect("valid");
        let augment = Augment { mean: [0.0; 3], std: [1.0 / 255.0; 3], ..Augment::eval() };
        let config = LoaderConfig { batch_size, drop_last: false, shuffle, seed: 7, augment };
        Loader::new(Arc::new(data), config).expect("loader")
    }

    fn labels(loader: &Loader, epoch: u64) -> Vec<Vec<usize>> {
        loader.epoch(epoch).map(|batch| batch.expect("batch").labels).collect()
    }

    #[test]
    fn an_epoch_shows_every_image_once_with_its_label() {
        for shuffle in [false, true] {
            let loader = loader(50, 16, shuffle);
            let batches: Vec<_> = loader.epoch(0).collect::<Result<_>>().expect("epoch");
            let sizes: Vec<_> = batches.iter().map(|batch| batch.images.dims()[0]).collect();
            assert_eq!(sizes, [16, 16, 16, 2]);
            assert_eq!(loader.batches(), 4);
            let mut seen = Vec::new();
            for batch in &batches {
                for (image, &label) in batch.images.data().chunks(IMAGE_LEN).zip(&batch.labels) {
                    assert!((image[0] - label as f32).abs() < 1e-3, "{} for {label}", image[0]);
                    seen.push(label);
                }
            }
            assert_eq!(seen.is_sorted(), !shuffle);
            seen.sort_unstable();
            assert_eq!(seen, (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_order_is_new_every_epoch_and_the_same_again() {
        let loader = loader(50, 16, true);
        assert_eq!(labels(&loader, 3), labels(&loader, 3));
        assert_ne!(labels(&loader, 3), labels(&loader, 4));
    }

    #[test]
    fn the_rest_of_an_epoch_is_that_of_the_whole() {
        let loader = loader(50, 16, true);
        let whole: Vec<_> = loader.epoch(2).collect::<Result<_>>().expect("epoch");
        for skipped in 0..=5 {
            let rest: Vec<_> = loader.epoch_from(2, skipped).collect::<Result<_>>().expect("epoch");
            let same = |(a, b): (&Batch, &Batch)| {
                a.labels == b.labels && a.images.data() == b.images.data()
            };
            let whole = &whole[skipped.min(4)..];
            assert_eq!(rest.len(), whole.len(), "after {skipped}");
            assert!(rest.iter().zip(whole).all(same), "after {skipped}");
        }
    }

    #[test]
    fn a_last_batch_that_is_dropped_is_the_smaller_one_only() {
        for (images, batch_size, sizes) in [(50, 16, vec![16; 3]), (48, 16, vec![16; 3])] {
            let kept = loader(images, batch_size, true);
            let config = LoaderConfig { drop_last: true, ..kept.config.clone() };
            let loader = Loader::new(kept.data.clone(), config).expect("loader");
            let batches = labels(&loader, 1);
            assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
            assert_eq!((loader.batches(), loader.images()), (3, 48));
            assert_eq!(batches[..], labels(&kept, 1)[..3], "the order is the same");
        }
    }

    #[test]
    fn an_epoch_dropped_early_ends_its_thread() {
        let loader = loader(50, 1, false);
        let mut batches = loader.epoch(0);
        assert_eq!(batches.next().expect("one").expect("batch").labels, [0]);
        // Joins the thread: this would hang if it waited for a reader.
        drop(batches);
        let ImageSource::Memory(data) = &loader.data else { panic!("a data set in memory") };
        assert_eq!(Arc::strong_count(data), 1, "the thread still holds the data");
    }

    #[test]
    fn a_padding_as_large_as_the_images_is_refused_at_once() {
        let config = loader(5, 5, false).config;
        let new = |size: [usize; 2], crop_padding| {
            let images = vec![0; 5 * 3 * size[0] * size[1]];
            let data = Dataset::with_size(images, size, vec![0; 5], vec!["all".to_owned()]);
            let augment = Augment { crop_padding, ..config.augment.clone() };
            let config = LoaderConfig { augment, ..config.clone() };
            Loader::new(data.expect("valid"), config).map(|loader| loader.batches())
        };
        for size in [[4, 9], [9, 4]] {
            assert_eq!(new(size, 3).expect("smaller"), 1);
            let message = new(size, 4).expect_err("as large").to_string();
            let part = format!("crop_padding = 4 with images of {}x{}", size[0], size[1]);
            assert!(message.contains(&part), "no {part:?} in {message:?}");
        }
    }

    #[test]
    fn impossible_batch_sizes_name_both_numbers() {
        let good = loader(5, 5, false);
        for batch_size in [0, 6] {
            let config = LoaderConfig { batch_size, ..good.config.clone() };
            let error = Loader::new(good.data.clone(), config).expect_err("batch size");
            let message = error.to_string();
            let part = format!("batch_size = {batch_size} of 5 images");
            assert!(message.contains(&part), "no {part:?} in {message:?}");
        }
    }
}
