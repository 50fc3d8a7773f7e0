//! Networks that can be gated, each written with a [`NetworkBuilder`](crate::NetworkBuilder).

pub(crate) mod resnet;
