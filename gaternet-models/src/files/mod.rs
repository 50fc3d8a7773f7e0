//! Files of models: checkpoints, and weights for a model that is there.

pub(crate) mod checkpoint;
pub(crate) mod model;
pub(crate) mod weights;
