//! The plain network that has as many parameters as a gated one.

use gaternet_core::nn::Module;
use gaternet_core::{Error, Result};

use super::config::BackboneConfig;
use super::plain_net::PlainNet;

impl BackboneConfig {
    /// The same architecture with the width whose number of parameters comes nearest to
    /// `parameters`: the "Wider" baseline of a gated model of that size.
    ///
    /// # Errors
    /// [`Error::Config`] if the configuration is out of range, or would have to be to have so many
    /// parameters.
    pub fn wider(&self, parameters: usize) -> Result<BackboneConfig> {
        let count = |width: f64| -> Result<usize> {
            Ok(PlainNet::unset(BackboneConfig { width, ..*self })?.parameter_count())
        };
        let (mut below, mut above) = (self.width, self.width);
        while count(above)? < parameters {
            (below, above) = (above, above * 1.5);
        }
        // Numbers of channels are whole: widths closer than this have the same.
        while above - below > 1e-4 {
            let middle = f64::midpoint(below, above);
            if count(middle)? < parameters { below = middle } else { above = middle }
        }
        let distance = |width| Ok::<_, Error>(count(width)?.abs_diff(parameters));
        let width = if distance(below)? < distance(above)? { below } else { above };
        Ok(BackboneConfig { width, ..*self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_matches_a_number_of_parameters() {
        let narrow = BackboneConfig::resnet(20, 10);
        let wide = narrow.wider(548_000).expect("in range");
        let count = PlainNet::new(wide, 0).expect("valid").parameter_count();
        assert!(count.abs_diff(548_000) < 15_000, "{count} at width {}", wide.width);
    }
}
