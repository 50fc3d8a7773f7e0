//! What a file seems to be that is no safetensors file, for its user.

/// By its first bytes.
pub(super) fn describe(start: &[u8]) -> &'static str {
    let text = start.trim_ascii_start();
    let begins = |magic: &[&[u8]]| magic.iter().any(|magic| start.starts_with(magic));
    let reads = |word: &str| {
        text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    if start.is_empty() {
        "it is empty"
    } else if begins(&[b"PK\x03\x04"]) {
        "it is a zip archive, as torch.save writes; tools/convert_checkpoint.py makes a safetensors file of a \
         PyTorch checkpoint"
    } else if start[0] == 0x80 && matches!(start.get(1), Some(0..=5)) {
        "it is a Python pickle, as torch.save once wrote; tools/convert_checkpoint.py makes a safetensors file \
         of a PyTorch checkpoint"
    } else if begins(&[b"version https://git-lfs"]) {
        "it is a Git LFS pointer; `git lfs pull` fetches the file that it stands for"
    } else if reads("<!doctype html") || reads("<html") {
        "it is a web page; look at it in a browser to see what the download wanted"
    } else if begins(&[b"\x89HDF\r\n\x1a\n"]) {
        "it is an HDF5 file"
    } else if begins(&[b"GGUF"]) {
        "it is a GGUF file"
    } else if begins(&[b"\x93NUMPY"]) {
        "it is a NumPy array"
    } else if begins(&[b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"]) {
        "it is compressed; unpack it first"
    } else if begins(&[b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF"]) {
        "it is an image"
    } else if is_onnx(start) {
        "it is an ONNX model, which can be written but not read"
    } else if start.iter().all(|&byte| byte == 0) {
        "it begins with zeros"
    } else if is_text(start) {
        "it is text"
    } else {
        "it does not begin with the length of a header and a header of that length"
    }
}

/// A protobuf message whose first field is `ir_version`, a small number, and whose second is text
/// or a graph.
fn is_onnx(start: &[u8]) -> bool {
    matches!(start, [0x08, 1..=32, 0x12 | 0x1a | 0x22 | 0x32 | 0x3a | 0x42, ..])
}

fn is_text(start: &[u8]) -> bool {
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The last letter may be cut.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !valid.is_empty() && !valid.chars().any(|c| c.is_control() && !c.is_whitespace())
}
