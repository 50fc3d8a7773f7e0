//! A backbone's convolutions as data: what placement and cost need to know of them.

/// One convolution of a backbone, as [`GatePlan`](crate::GatePlan) and [`Cost`](crate::Cost) see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvSpec {
    /// State-dict name of the layer.
    pub name: String,
    /// C.
    pub in_channels: usize,
    /// F.
    pub out_channels: usize,
    /// (KH, KW).
    pub kernel: [usize; 2],
    /// (OH, OW).
    pub out_size: [usize; 2],
    /// Its place in the network.
    pub role: ConvRole,
    /// Name of the [`Hidden`](ConvRole::Hidden) convolution whose filters are its input channels;
    /// `None` if it reads the images or the input of its unit. Of a depthwise convolution that of any
    /// other that only it reads.
    pub reads: Option<String>,
    /// Whether each filter reads the one input channel of its number ([`Reads::Same`]).
    ///
    /// [`Reads::Same`]: crate::Reads::Same
    pub depthwise: bool,
}

/// The place of a convolution in a network: what a [`GatePlacement`](crate::GatePlacement) goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConvRole {
    /// Never gated: the stem, a shortcut, a transition.
    #[default]
    Ungated,
    /// Inside a unit: after batch norm and ReLU its output goes to one other convolution and nowhere else.
    Hidden,
    /// The last of a unit: after batch norm the shortcut is added.
    ResidualOutput,
}

impl ConvSpec {
    /// MACs for one image with every filter running: F·C·KH·KW·OH·OW.
    #[must_use]
    pub fn macs(&self) -> u64 {
        let sides = self.kernel.iter().chain(&self.out_size);
        sides.fold(self.out_channels as u64 * self.in_channels as u64, |macs, n| macs * *n as u64)
    }
}
