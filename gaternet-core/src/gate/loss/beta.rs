//! The Beta distribution.

use crate::error::{Error, Result, digits};

/// The continued fraction takes about as many terms as the root of the larger parameter; this is
/// enough for all that are let in.
const MAX_TERMS: usize = 300;

/// The distribution Beta(a, b), with density `x^(a-1) · (1-x)^(b-1) / B(a, b)` on (0, 1): the prior
/// of [`batch_shaping`](super::batch_shaping()).
#[derive(Debug, Clone, Copy)]
pub struct Beta {
    a: f64,
    b: f64,
    /// ln B(a, b).
    ln_beta: f64,
}

impl Beta {
    /// The distribution with these parameters.
    ///
    /// # Errors
    /// [`Error::Config`] if one is not above 0 and at most 100.
    pub fn new(a: f64, b: f64) -> Result<Beta> {
        for (field, value) in [("beta a", a), ("beta b", b)] {
            if !(value > 0.0 && value <= 100.0) {
                let rule = "must be above 0 and at most 100";
                return Err(Error::Config { field, value: digits(value), rule });
            }
        }
        Ok(Beta { a, b, ln_beta: ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b) })
    }

    /// The density at x in (0, 1).
    #[must_use]
    pub fn pdf(&self, x: f64) -> f64 {
        ((self.a - 1.0) * x.ln() + (self.b - 1.0) * (-x).ln_1p() - self.ln_beta).exp()
    }

    /// The probability of (0, x), for x in (0, 1): the regularised incomplete beta function.
    #[must_use]
    pub fn cdf(&self, x: f64) -> f64 {
        let Beta { a, b, ln_beta } = *self;
        let front = (a * x.ln() + b * (-x).ln_1p() - ln_beta).exp();
        // The fraction converges fast on this side of the mean; I_x(a, b) = 1 - I_{1-x}(b, a) on
        // the other.
        if x < (a + 1.0) / (a + b + 2.0) {
            front * fraction(a, b, x) / a
        } else {
            1.0 - front * fraction(b, a, 1.0 - x) / b
        }
    }
}

/// The continued fraction of the incomplete beta function (Abramowitz & Stegun 26.5.8), by Lentz's
/// method.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    // In place of a 0 that would divide.
    let nonzero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for m in 1..=MAX_TERMS {
        let m = m as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for coefficient in [even, odd] {
            d = 1.0 / nonzero(1.0 + coefficient * d);
            c = nonzero(1.0 + coefficient / c);
            change = c * d;
            result *= change;
        }
        if (change - 1.0).abs() < 1e-14 {
            break;
        }
    }
    result
}

/// ln Γ(x) for x > 0, by Lanczos's approximation with the coefficients of Godfrey (g = 7, 9 terms).
fn ln_gamma(x: f64) -> f64 {
    const G: f64 = 7.0;
    const FIRST: f64 = 0.999_999_999_999_809_9;
    const REST: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Γ(x + 1) = x · Γ(x): the series is for the right half.
        return ln_gamma(x + 1.0) - x.ln();
    }
    let x = x - 1.0;
    let terms = REST.iter().zip(1..).map(|(term, i)| term / (x + f64::from(i)));
    let series = FIRST + terms.sum::<f64>();
    let t = x + G + 0.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + series.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (a, b, x, scipy.special.betainc(a, b, x), scipy.stats.beta.pdf(x, a, b))
    const SCIPY: [(f64, f64, f64, f64, f64); 17] = [
        (0.6, 0.4, 1e-6, 0.000_126_737_547_894_372_56, 76.042_557_252_593_5),
        (0.6, 0.4, 0.05, 0.084_580_161_254_505_99, 1.034_747_266_852_627_8),
        (0.6, 0.4, 0.5, 0.384_091_934_484_394_4, 0.605_461_382_912_525_8),
        (0.6, 0.4, 0.9, 0.695_109_337_167_846_6, 1.257_069_962_394_219),
        (0.6, 0.4, 0.999_999, 0.996_987_018_180_240_5, 1_205.193_072_210_145_4),
        (1.0, 1.0, 0.3, 0.3, 1.0),
        (1.0, 1.0, 0.999_999, 0.999_999, 1.0),
        (2.0, 5.0, 0.05, 0.032_773_828_125, 1.221_759_375),
        (2.0, 5.0, 0.5, 0.890_625, 0.937_5),
        (2.0, 5.0, 0.9, 0.999_945, 0.002_7),
        (0.5, 0.5, 0.3, 0.369_010_119_565_545_4, 0.694_609_118_042_856_6),
        (0.5, 0.5, 0.9, 0.795_167_235_300_866_5, 1.061_032_953_945_969),
        (30.0, 2.5, 0.5, 4.539_305_655_093_08e-8, 2.596_034_599_764_087_7e-6),
        (30.0, 2.5, 0.9, 0.262_548_320_870_787_94, 5.871_622_390_241_168),
        (30.0, 2.5, 0.999_999, 0.999_999_999_998_423_2, 3.941_964_870_193_347_5e-6),
        (0.1, 8.0, 1e-6, 0.323_210_214_510_342_3, 32_320.815_772_323_6),
        (0.1, 8.0, 0.3, 0.997_717_928_509_911_4, 0.031_315_727_454_627_84),
    ];

    #[test]
    fn distribution_and_density_agree_with_scipy() {
        for (a, b, x, cdf, pdf) in SCIPY {
            let beta = Beta::new(a, b).expect("in range");
            for (what, got, want) in [("cdf", beta.cdf(x), cdf), ("pdf", beta.pdf(x), pdf)] {
                let error = (got - want).abs() / want;
                assert!(error < 1e-11, "{what} of Beta({a}, {b}) at {x}: {got}, not {want}");
            }
        }
    }

    #[test]
    fn the_extremes_that_are_let_in_converge() {
        for (a, b) in [(100.0, 100.0), (1e-3, 100.0), (100.0, 1e-3), (1e-3, 1e-3)] {
            let beta = Beta::new(a, b).expect("in range");
            let values: Vec<f64> = (1..1000).map(|i| beta.cdf(f64::from(i) / 1000.0)).collect();
            assert!(values.is_sorted_by(|x, y| *x <= y + 1e-12), "Beta({a}, {b}) falls");
            assert!(values.iter().all(|x| (-1e-12..=1.0 + 1e-12).contains(x)), "Beta({a}, {b})");
        }
    }
}
