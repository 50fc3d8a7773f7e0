//! Every op against the f64 reference: its output, and its gradients against central differences.

mod batch_norm;
mod channels;
mod check;
mod conv2d;
mod elementwise;
mod gates;
mod matrices;
mod pools;
