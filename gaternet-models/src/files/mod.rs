//! Models in files.

pub(crate) mod checkpoint;
pub(crate) mod model;
pub(crate) mod weights;
