//! ResNet backbones, the gater, and [`GatedResNet`].
#![forbid(unsafe_code)]
