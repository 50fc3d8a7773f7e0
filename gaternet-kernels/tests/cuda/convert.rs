use gaternet_kernels::cuda::{bf16, convert};

use crate::check::{
    PLANES, Real, dense_len, download, download_dense, unwritten, upload, upload_dense, values,
};
use crate::emulator;

fn there_and_back<T: Real>() {
    let Some(device) = emulator::device() else { return };
    for dims in PLANES {
        let host = values(1, dims.len());
        let mut dense = unwritten::<T>(&device, dense_len(dims));
        convert::pack(dims, &upload(&device, &host), &mut dense).expect("a launch");
        assert_eq!(download_dense(dims, &dense).as_ref(), Ok(&host), "pack, {dims:?}");
        let mut planes = upload(&device, &vec![f32::NAN; host.len()]);
        convert::unpack(dims, &upload_dense::<T>(&device, dims, &host), &mut planes)
            .expect("a launch");
        assert_eq!(download(&planes).as_ref(), Ok(&host), "unpack, {dims:?}");
    }
}

#[test]
fn activations_go_there_and_back() {
    there_and_back::<bf16>();
    there_and_back::<f32>();
}

#[test]
fn f32_is_rounded_to_even_and_bf16_is_exact() {
    let Some(device) = emulator::device() else { return };
    for len in [0, 1, 256, 1000] {
        // Bits beyond those of bf16, some of them exactly one half.
        let host: Vec<f32> = values(1, len)
            .iter()
            .enumerate()
            .map(|(i, v)| f32::from_bits(v.to_bits() | [0x8000, 0x8001, 0x7fff, 0][i % 4]))
            .collect();
        let mut narrow = unwritten::<bf16>(&device, len);
        convert::to_bf16(&upload(&device, &host), &mut narrow).expect("a launch");
        let rounded: Vec<f32> = host.iter().map(|&v| bf16::from_f32(v).to_f32()).collect();
        assert_eq!(download(&narrow).as_ref(), Ok(&rounded));
        let mut wide = upload(&device, &vec![f32::NAN; len]);
        convert::to_f32(&narrow, &mut wide).expect("a launch");
        assert_eq!(download(&wide).as_ref(), Ok(&rounded));
    }
    let mut short = unwritten::<bf16>(&device, 1);
    let error = convert::to_bf16(&upload(&device, &[0.0; 2]), &mut short).expect_err("too short");
    assert!(error.to_string().contains("`to` has 1 elements, its dims need 2"), "{error}");
}
