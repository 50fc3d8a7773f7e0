//! A network as it runs: what each step computes, which gates switch it, who reads it and how long
//! it is needed. Tensors, plans, GPU, files and costs are made from this one list.

pub(crate) mod finite;
pub(crate) mod gate;
mod lowering;
mod programs;
mod tensors;

pub(crate) use lowering::{Mode, Program, Step};
pub(crate) use programs::Programs;
pub(crate) use tensors::Gating;
