#!/usr/bin/env bash
# zune-jpeg 0.5.15 (the JPEG decoder of `image` 0.25) and libjpeg-turbo (Pillow 13.0.0) on a sequential 4:2:0 file that has a
# scan for each component, which the standard allows as much as one scan for all (ITU-T T.81, A.2.2).
#
# Expected: the same picture within a few levels, or an error that names what is not supported.
# Seen:     no error, and another picture: the mean difference is above 20 levels.
# Exits with an error if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install -q pillow==13.0.0 numpy
cargo init -q --name probe . && cargo add -q zune-jpeg@=0.5.15
cat > src/main.rs <<'RUST'
use zune_jpeg::{JpegDecoder, zune_core::bytestream::ZCursor};
fn main() {
    let file = std::fs::read("picture.jpg").unwrap();
    let result = JpegDecoder::new(ZCursor::new(&file)).decode();
    std::fs::write("zune.rgb", result.expect("zune-jpeg refuses the file now")).unwrap();
}
RUST
venv/bin/python - <<'PYTHON'
import io
import struct
import numpy
from PIL import Image

# A grey file of a component's size holds its scan, and all three have the same tables.
y, x = numpy.mgrid[0:64, 0:64]
planes = [4 * x, 4 * y[::2, ::2], 255 - 4 * x[::2, ::2]]
parts = []
for plane in planes:
    file = io.BytesIO()
    Image.fromarray(plane.astype(numpy.uint8)).save(file, "JPEG", quality=95)
    data, at, segments = file.getvalue(), 2, {}
    while data[at + 1] != 0xDA:
        length = struct.unpack(">H", data[at + 2 : at + 4])[0]
        segments.setdefault(data[at + 1], []).append(data[at : at + 2 + length])
        at += 2 + length
    length = struct.unpack(">H", data[at + 2 : at + 4])[0]
    parts.append((segments, data[at + 2 + length : -2]))
tables = parts[0][0]
assert all(part[0][0xDB] == tables[0xDB] and part[0][0xC4] == tables[0xC4] for part in parts)
frame = struct.pack(">HBHHB", 17, 8, 64, 64, 3) + bytes([1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0])
scans = b"".join(
    b"\xff\xda" + struct.pack(">HBBB", 8, 1, number, 0) + bytes([0, 63, 0]) + data
    for number, (_, data) in enumerate(parts, 1)
)
tables = b"".join(tables[0xDB]) + b"\xff\xc0" + frame + b"".join(tables[0xC4])
open("picture.jpg", "wb").write(b"\xff\xd8" + tables + scans + b"\xff\xd9")
PYTHON
cargo run -q --release
venv/bin/python - <<'PYTHON'
import numpy
from PIL import Image, features
image = Image.open("picture.jpg")
want = numpy.asarray(image.convert("RGB")).astype(int)
y, x = numpy.mgrid[0:64, 0:64]
planes = numpy.asarray(image.convert("YCbCr")).astype(int)
assert abs(planes[..., 0] - numpy.asarray(4 * x)).mean() < 20, "Pillow does not read the picture that was written"
got = numpy.fromfile("zune.rgb", numpy.uint8).reshape(want.shape)
mean = abs(got - want).mean()
print("zune-jpeg 0.5.15, Pillow 13.0.0 with libjpeg-turbo", features.version("libjpeg_turbo"))
print(f"mean difference: {mean:.1f} levels")
assert mean > 20, "this has changed"
PYTHON
