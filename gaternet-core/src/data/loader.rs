//! Batches, prepared in the background.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rand::seq::SliceRandom;

use super::{Augment, Dataset, stream};
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
    /// (N, C, H, W), augmented and normalised; see [`Augment::batch`].
    pub images: Tensor,
    /// (N).
    pub labels: Vec<usize>,
}

/// Epochs of batches of one data set.
#[derive(Clone)]
pub struct Loader {
    data: Arc<dyn Dataset>,
    config: LoaderConfig,
}

impl Loader {
    /// A loader of `data`: a [`Dataset`], or an `Arc` of one, which it shares.
    ///
    /// # Errors
    /// [`Error::Config`] if the batch size is 0 or larger than the data set, or a field of the
    /// augmentation is unusable, by itself or with these images (see [`Augment::batch`]).
    pub fn new(data: impl Dataset + 'static, config: LoaderConfig) -> Result<Loader> {
        let data: Arc<dyn Dataset> = Arc::new(data);
        config.augment.check()?;
        config.augment.output_size(&data)?;
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
    pub fn dataset(&self) -> &dyn Dataset {
        &*self.data
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

    fn label(&self, index: usize) -> Result<usize> {
        let (label, classes) = (self.data.label(index)?, self.data.classes().len());
        if label < classes {
            return Ok(label);
        }
        Err(Error::Shape {
            op: "Dataset::label",
            rule: "a label must be below the number of classes",
            got: format!("{label} of image {index}, with {classes} classes"),
        })
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
            let batch = augment.batch(&self.data, indices, seed, epoch).and_then(|images| {
                let labels = indices.iter().map(|&index| self.label(index));
                Ok(Batch { images, labels: labels.collect::<Result<_>>()? })
            });
            if sender.send(batch).is_err() {
                return;
            }
        }
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loader({} {}, {:?})", self.data.len(), self.data.name(), self.config)
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
    use super::super::{Image, InMemory, Layout, Normalize};
    use super::*;

    const IMAGE_LEN: usize = 3072;

    /// Image i is all i, of class i.
    fn loader(n: usize, batch_size: usize, shuffle: bool) -> Loader {
        let images = (0..n).flat_map(|i| vec![i as u8; IMAGE_LEN]).collect();
        let classes = (0..n).map(|i| i.to_string()).collect();
        let data = InMemory::<u8>::new(images, [3, 32, 32], (0..n).collect(), classes);
        let data = data.expect("valid");
        let normalize = Normalize::new([0.0; 3], [1.0 / 255.0; 3]).expect("usable");
        let augment = Augment { normalize, ..Augment::eval() };
        let config = LoaderConfig { batch_size, drop_last: false, shuffle, seed: 7, augment };
        Loader::new(data, config).expect("loader")
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
        assert_eq!(Arc::strong_count(&loader.data), 1, "the thread still holds the data");
    }

    #[test]
    fn a_padding_as_large_as_the_images_is_refused_at_once() {
        let config = loader(5, 5, false).config;
        let new = |size: [usize; 2], crop_padding| {
            let images = vec![0; 5 * 3 * size[0] * size[1]];
            let shape = [3, size[0], size[1]];
            let data = InMemory::<u8>::new(images, shape, vec![0; 5], vec!["all".to_owned()]);
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

    /// Two images, of which something is not as the rest says.
    struct Odd {
        classes: Vec<String>,
        shape: [usize; 3],
        label: usize,
    }

    impl Dataset for Odd {
        fn len(&self) -> usize {
            2
        }

        fn classes(&self) -> &[String] {
            &self.classes
        }

        fn channels(&self) -> usize {
            1
        }

        fn size(&self) -> Option<[usize; 2]> {
            Some([8, 6])
        }

        fn label(&self, index: usize) -> Result<usize> {
            Ok(index * self.label)
        }

        fn image(&self, _: usize) -> Result<Image<'_>> {
            Image::new(vec![0_u8; self.shape.iter().product()], Layout::Hwc, self.shape)
        }
    }

    #[test]
    fn a_data_set_that_contradicts_itself_is_an_error_that_says_how() {
        let first = |shape, label, channels: usize| -> Result<Batch> {
            let data = Odd { classes: vec!["only".to_owned()], shape, label };
            let normalize = Normalize::new(vec![0.5; channels], vec![0.5; channels])?;
            let augment = Augment { normalize, ..Augment::eval() };
            let config = LoaderConfig { augment, ..loader(2, 2, false).config };
            Loader::new(data, config)?.epoch(0).next().expect("one batch")
        };
        assert_eq!(first([1, 8, 6], 0, 1).expect("consistent").images.dims(), [2, 1, 8, 6]);
        for (shape, label, channels, part) in [
            ([1, 6, 8], 0, 1, "1 channels of 8x6 for image 0, which should have 1 of 6x8"),
            ([2, 8, 6], 0, 1, "2 channels of 6x8"),
            ([1, 8, 6], 1, 1, "1 of image 1, with 1 classes"),
            ([1, 8, 6], 0, 3, "mean = [0.5, 0.5, 0.5] with images of 1 channels"),
        ] {
            let message = first(shape, label, channels).expect_err(part).to_string();
            assert!(message.contains(part), "no {part:?} in {message:?}");
        }
    }
}
