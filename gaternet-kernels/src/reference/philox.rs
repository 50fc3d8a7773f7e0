//! Philox4x32-10, a random function of a counter and a key (Salmon et al. 2011, "Parallel random
//! numbers: as easy as 1, 2, 3").

/// Returns four random words.
#[must_use]
pub fn philox4x32_10(counter: [u32; 4], key: u64) -> [u32; 4] {
    let mut keys = [key as u32, (key >> 32) as u32];
    let mut words = counter;
    for _ in 0..10 {
        let wide = |a: u32, b: u32| u64::from(a) * u64::from(b);
        let (a, b) = (wide(0xd251_1f53, words[0]), wide(0xcd9e_8d57, words[2]));
        words = [
            (b >> 32) as u32 ^ words[1] ^ keys[0],
            b as u32,
            (a >> 32) as u32 ^ words[3] ^ keys[1],
            a as u32,
        ];
        keys = [keys[0].wrapping_add(0x9e37_79b9), keys[1].wrapping_add(0xbb67_ae85)];
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of the authors' Random123 library (`kat_vectors`).
    #[test]
    fn known_answers() {
        assert_eq!(philox4x32_10([0; 4], 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox4x32_10([u32::MAX; 4], u64::MAX),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(
            philox4x32_10(counter, 0x299f_31d0_a409_3822),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }
}
