//! Networks by name: configurations, the families they build, and plain classifiers.

pub(crate) mod config;
pub(crate) mod families;
pub(crate) mod names;
pub(crate) mod plain_net;
mod wider;
