//! Counts block by block.

use anyhow::Result;
use gaternet_core::nn::Module;
use gaternet_models::{GatePlan, PlainNet};
use serde::Serialize;

/// A block, a dense layer, or a layer outside of any.
#[derive(Debug, Serialize)]
pub struct Block {
    /// As the names of its parameters begin.
    pub name: String,
    /// (C, H, W) of its last convolution or linear layer; zeros without one.
    pub output: [usize; 3],
    /// Numbers in its parameters.
    pub parameters: usize,
    /// Of convolutions and linear layers.
    pub macs: u64,
    /// Of its filters.
    pub gates: usize,
}

/// The blocks of a network for images of `size` (H, W), in the order they run.
///
/// # Errors
/// If the images are too small for the network.
pub fn blocks(model: &PlainNet, plan: Option<&GatePlan>, size: [usize; 2]) -> Result<Vec<Block>> {
    let convs = model.convs(size)?;
    let mut blocks: Vec<Block> = Vec::new();
    for (name, parameter) in model.parameters() {
        let block = block_of(&name);
        let layer = name.rsplit_once('.').map_or(name.as_str(), |(layer, _)| layer);
        let at = blocks.iter().position(|known| known.name == block).unwrap_or_else(|| {
            let name = block.to_owned();
            blocks.push(Block { name, output: [0; 3], parameters: 0, macs: 0, gates: 0 });
            blocks.len() - 1
        });
        let (block, weight) = (&mut blocks[at], parameter.tensor());
        block.parameters += weight.len();
        if let Some(at) = convs.iter().position(|conv| conv.name == layer) {
            let conv = &convs[at];
            block.output = [conv.out_channels, conv.out_size[0], conv.out_size[1]];
            block.macs += conv.macs();
            let layer = plan.and_then(|plan| Some(&plan.layers()[plan.convs()[at].filters?]));
            block.gates += layer.map_or(0, |layer| layer.columns.len());
        } else if let [out, _] = weight.dims() {
            block.macs += weight.len() as u64;
            if block.output == [0; 3] {
                block.output = [*out, 1, 1];
            }
        }
    }
    Ok(blocks)
}

/// `stage1.block2` of `stage1.block2.conv1.weight`: the first two parts of a name after `features`,
/// or the first of a layer outside of blocks. A batch norm outside of any is shown by itself.
fn block_of(parameter: &str) -> &str {
    let start = if parameter.starts_with("features.") { "features.".len() } else { 0 };
    let dots: Vec<usize> =
        parameter[start..].match_indices('.').map(|(at, _)| start + at).collect();
    // The last part is `weight` or `bias`; before it comes the layer, and before that the block, if
    // any.
    let end = match dots[..] {
        [_, second, _, ..] => second,
        [first, ..] => first,
        [] => parameter.len(),
    };
    &parameter[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_units() {
        for (parameter, block) in [
            ("conv.weight", "conv"),
            ("stage1.block2.conv1.weight", "stage1.block2"),
            ("stage2.block1.shortcut.bn.bias", "stage2.block1"),
            ("layer4.0.downsample.0.weight", "layer4.0"),
            ("features.conv0.weight", "features.conv0"),
            ("features.transition1.norm.weight", "features.transition1"),
            ("features.denseblock1.denselayer3.conv2.weight", "features.denseblock1.denselayer3"),
            ("fc.bias", "fc"),
        ] {
            assert_eq!(block_of(parameter), block, "{parameter}");
        }
    }
}
