//! A backbone's convolutions as data: what placement and cost need to know of them.

use gaternet_core::nn::{Conv2d, scoped};

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
    /// `None` if it reads the images or the input of its unit.
    pub reads: Option<String>,
}

/// The place of a convolution in a residual network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvRole {
    /// Reads the images.
    Stem,
    /// Inside a residual unit: after batch norm and ReLU its output goes to the next convolution of the
    /// unit and nowhere else.
    Hidden,
    /// The last of a residual unit: after batch norm the shortcut is added.
    ResidualOutput,
    /// Fits the input of a residual unit to its output.
    Shortcut,
}

impl ConvSpec {
    pub(crate) fn new(
        name: String,
        conv: &Conv2d,
        out_size: [usize; 2],
        role: ConvRole,
        reads: Option<String>,
    ) -> ConvSpec {
        let [out_channels, in_channels, kernel @ ..] = conv.shape();
        ConvSpec { name, in_channels, out_channels, kernel, out_size, role, reads }
    }

    /// MACs for one image with every filter running: F·C·KH·KW·OH·OW.
    #[must_use]
    pub fn macs(&self) -> u64 {
        let sides = self.kernel.iter().chain(&self.out_size);
        sides.fold(self.out_channels as u64 * self.in_channels as u64, |macs, n| macs * *n as u64)
    }
}

/// The convolutions of a residual unit of two, its shortcut's last, and the size of its output. `name` and
/// `size` are of the unit and its input; a shortcut comes with its name in the unit.
pub(crate) fn unit_convs(
    name: &str,
    size: [usize; 2],
    stride: usize,
    [conv1, conv2]: [&Conv2d; 2],
    shortcut: Option<(&str, &Conv2d)>,
) -> (Vec<ConvSpec>, [usize; 2]) {
    let out_size = size.map(|side| side.div_ceil(stride));
    let spec = |layer: &str, conv: &Conv2d, role, reads: Option<&str>| {
        let reads = reads.map(|layer| scoped(name, layer));
        ConvSpec::new(scoped(name, layer), conv, out_size, role, reads)
    };
    let mut convs = vec![
        spec("conv1", conv1, ConvRole::Hidden, None),
        spec("conv2", conv2, ConvRole::ResidualOutput, Some("conv1")),
    ];
    convs.extend(shortcut.map(|(layer, conv)| spec(layer, conv, ConvRole::Shortcut, None)));
    (convs, out_size)
}
