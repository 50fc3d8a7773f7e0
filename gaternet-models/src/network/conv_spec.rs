//! A backbone's convolutions as data: what placement and costs need to know of them.

/// One convolution of a backbone, as [`GatePlan`](crate::GatePlan) and [`Cost`](crate::Cost) see
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvSpec {
    /// State-dict name of the layer.
    pub name: String,
    /// Input channels C; 1 for a depthwise convolution.
    pub in_channels: usize,
    /// Filters F, the output channels.
    pub out_channels: usize,
    /// Size (KH, KW) of the kernel.
    pub kernel: [usize; 2],
    /// Size (OH, OW) of the output for the images that were asked for.
    pub out_size: [usize; 2],
    /// Place in the network, which decides where it can be gated.
    pub role: ConvRole,
    /// Name of the [`Inner`](ConvRole::Inner) convolution whose filters are its input channels;
    /// `None` if it reads the images or the input of its block. For a depthwise convolution, the
    /// name of any convolution whose output only it reads.
    pub reads: Option<String>,
    /// Whether each filter reads the one input channel of its number ([`Reads::Same`]).
    ///
    /// [`Reads::Same`]: crate::Reads::Same
    pub depthwise: bool,
}

/// The place of a convolution in a network, by which a [`GatePlacement`](crate::GatePlacement)
/// gates it or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConvRole {
    /// Never gated: the stem, a shortcut, a transition.
    #[default]
    Ungated,
    /// An inner convolution of a block: after batch norm and ReLU its output goes to one other
    /// convolution and nowhere else.
    Inner,
    /// The last convolution of a block: after its batch norm the shortcut is added.
    BlockOutput,
}

impl ConvSpec {
    /// MACs for one image with every filter running: F·C·KH·KW·OH·OW.
    #[must_use]
    pub fn macs(&self) -> u64 {
        let sides = self.kernel.iter().chain(&self.out_size);
        sides.fold(self.out_channels as u64 * self.in_channels as u64, |macs, n| macs * *n as u64)
    }
}
