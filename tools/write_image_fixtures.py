#!/usr/bin/env python3
"""Writes the image files of gaternet-core's tests into a folder: good/NAME with the pixels of Pillow's convert("RGB") beside it as
NAME.ppm, and refused/NAME. Needs Pillow, numpy, cjpeg and jpegtran.

    python3 tools/write_image_fixtures.py gaternet-core/tests/images
"""

import io
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
from PIL import Image

W, H = 18, 14


def picture(width, height):
    y, x = numpy.mgrid[0:height, 0:width]
    planes = [128 + 100 * numpy.sin(x / 4 + y / 7), 255 * ((x // 3 + y // 4) % 2), (x * 13 + y * 7) % 256]
    return Image.fromarray(numpy.stack(planes, -1).clip(0, 255).astype(numpy.uint8))


def tool(*command, data):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def ppm(image):
    out = io.BytesIO()
    image.save(out, "PPM")
    return out.getvalue()


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def cjpeg(*options, image=None):
    return tool("cjpeg", "-quality", "90", *options, data=ppm(image or picture(W, H)))


def scans(script, jpeg):
    with tempfile.NamedTemporaryFile("w", suffix=".scans") as file:
        file.write(script)
        file.flush()
        return tool("jpegtran", "-scans", file.name, data=jpeg)


def insert(jpeg, segment):
    return jpeg[:2] + segment + jpeg[2:]


def replace(data, old, new):
    assert data.count(old) == 1, (old, data.count(old))
    return data.replace(old, new)


def bmp(bits, compression, rows, height=H, extra=b""):
    data = b"".join(row + bytes(-len(row) % 4) for row in rows)
    start = 54 + len(extra)
    head = struct.pack("<IHHI", start + len(data), 0, 0, start)
    return b"BM" + head + struct.pack("<IiiHHIIiiII", 40, W, height, 1, bits, compression, len(data), 0, 0, 0, 0) + extra + data


def tiff(order, tags, data):
    """One strip; tags: number to (type H or I, values)."""
    tags = {256: ("I", [W]), 257: ("I", [H]), 259: ("H", [1]), 273: ("I", [0]), 279: ("I", [len(data)])} | tags
    base = 8 + 2 + 12 * len(tags) + 4
    raw = {tag: b"".join(struct.pack(order + kind, v) for v in values) for tag, (kind, values) in tags.items()}
    where = base + sum(len(value) for value in raw.values() if len(value) > 4)
    raw[273] = struct.pack(order + "I", where)
    entries, extra = b"", b""
    for tag in sorted(tags):
        kind, values = tags[tag]
        value = raw[tag]
        if len(value) > 4:
            value = struct.pack(order + "I", base + len(extra))
            extra += raw[tag]
        entries += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + value.ljust(4, b"\0")
    magic = b"MM\0*" if order == ">" else b"II*\0"
    count = struct.pack(order + "H", len(tags))
    return magic + struct.pack(order + "I", 8) + count + entries + bytes(4) + extra + data


def good():
    rgb = picture(W, H)
    grey, alpha = rgb.getchannel(2), rgb.getchannel(0)
    pixels = numpy.asarray(rgb)
    for sampling in ["1x1", "2x1", "1x2", "2x2", "4x1", "2x4"]:
        for name, options in [("", []), ("-progressive", ["-progressive"])]:
            yield f"{sampling}{name}.jpg", cjpeg("-sample", f"{sampling},1x1,1x1", *options)
    base = cjpeg("-sample", "2x2,1x1,1x1")
    yield "restart.jpg", tool("jpegtran", "-restart", "1B", data=base)
    large = cjpeg("-sample", "2x2", image=picture(64, 48))
    yield "cropped.jpg", tool("jpegtran", "-crop", "18x14+16+16", data=large)
    yield "grey-factors.jpg", tool("cjpeg", "-grayscale", "-sample", "2x2", data=ppm(rgb))
    colours = cjpeg("-rgb")
    yield "rgb.jpg", colours
    for name in [b"R", b"G", b"B"]:
        colours = colours.replace(name + b"\x11", bytes([b"RGB".index(name) + 1]) + b"\x11")
        colours = colours.replace(name + b"\x00", bytes([b"RGB".index(name) + 1]) + b"\x00")
    yield "rgb-by-adobe.jpg", colours
    cmyk = encoded(rgb.convert("CMYK"), "JPEG", quality=90)
    yield "cmyk.jpg", cmyk
    adobe = cmyk.index(b"Adobe")
    yield "ycck.jpg", cmyk[: adobe + 11] + b"\2" + cmyk[adobe + 12 :]
    yield "thumbnail.jpg", insert(base, b"\xff\xe1" + struct.pack(">H", len(large) + 2) + large)
    yield "more-behind.jpg", base + bytes(range(256)) + large
    yield "jpeg-called.png", base
    for mode in ["1", "L", "LA", "RGBA", "P"]:
        image = {"LA": Image.merge("LA", [grey, alpha]), "RGBA": Image.merge("RGBA", [*rgb.split(), alpha])}
        image = image.get(mode) or rgb.convert(mode)
        yield f"{mode}.png", encoded(image, "PNG")
    yield "P4.png", encoded(rgb.quantize(11), "PNG", transparency=3)
    alpha_image = Image.merge("RGBA", [*rgb.split(), alpha])
    yield "lossy.webp", encoded(rgb, "WEBP")
    yield "lossless.webp", encoded(alpha_image, "WEBP", lossless=True)
    yield "animation.webp", encoded(alpha_image, "WEBP", lossless=True, save_all=True, append_images=[rgb])
    for mode in ["1", "L", "P", "RGB"]:
        yield f"{mode}.bmp", encoded(rgb.convert(mode), "BMP")
    bits = (pixels[..., 0].astype("<u2") * 251 + pixels[..., 2]).astype("<u2")
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    yield "565.bmp", bmp(16, 3, [row.tobytes() for row in bits], extra=masks)
    yield "555-top-down.bmp", bmp(16, 0, [row.tobytes() for row in bits], height=-H)
    yield "32.bmp", bmp(32, 0, [row.tobytes() for row in numpy.dstack([pixels, pixels[..., :1]])])
    for name, image, options in [
        ("packbits", rgb, {"compression": "packbits"}),
        ("lzw", rgb, {"compression": "tiff_lzw", "tiffinfo": {317: 2, 278: 3}}),
        ("deflate", rgb, {"compression": "tiff_adobe_deflate"}),
        ("cmyk", rgb.convert("CMYK"), {}),
        ("LA", Image.merge("LA", [grey, alpha]), {}),
        ("big", rgb, {"big_tiff": True}),
        ("pages", rgb, {"save_all": True, "append_images": [rgb.rotate(180)]}),
    ]:
        yield f"{name}.tif", encoded(image, "TIFF", **options)
    tags = {258: ("H", [8] * 3), 262: ("H", [2]), 277: ("H", [3])}
    yield "big-endian.tiff", tiff(">", tags, pixels.tobytes())
    black = numpy.packbits(pixels[..., 0] > 127, axis=1).tobytes()
    yield "white-is-zero.tif", tiff("<", {258: ("H", [1]), 262: ("H", [0]), 277: ("H", [1])}, black)
    size = f"{W} {H}\n".encode()
    values = pixels[..., 0]
    text = "\n".join(" ".join(str(value) for value in row) for row in values % 101).encode()
    yield "P1.ppm", b"P1\n# comment\n" + size + b"\n".join(bytes((48 + row // 128).tolist()) for row in values)
    yield "P2.pgm", b"P2 " + size + b"100\n" + text
    yield "P4.pgm", b"P4 " + size + black
    yield "P5.pgm", b"P5 " + size + b"77\n" + (values % 78).tobytes()
    yield "P6.ppm", b"P6 " + size + b"31 " + (pixels % 32).tobytes()
    yield "P6-16.ppm", b"P6 " + size + b"4095\n" + (pixels.astype("u2") * 16).astype(">u2").tobytes()


def refused():
    base = cjpeg("-sample", "2x2,1x1,1x1")
    yield "several-scans.jpg", scans("0;\n1;\n2;\n", base)
    yield "two-scans.jpg", scans("0;\n1 2;\n", base)
    yield "luma-below.jpg", cjpeg("-sample", "1x1,2x2,2x2")
    yield "luma-below-one.jpg", cjpeg("-sample", "1x1,2x1,1x1")
    yield "three-to-two.jpg", replace(cjpeg("-sample", "3x1,1x1,1x1"), b"\x02\x11\x01", b"\x02\x21\x01")
    yield "three-to-one.jpg", cjpeg("-sample", "3x1,1x1,1x1")
    yield "narrow.jpg", cjpeg("-sample", "2x2", image=picture(4, 4))
    yield "arithmetic.jpg", tool("jpegtran", "-arithmetic", data=base)
    frame = base.index(b"\xff\xc0")
    yield "lossless.jpg", base[: frame + 1] + b"\xc3" + base[frame + 2 :]
    yield "12-bits.jpg", base[: frame + 4] + b"\x0c" + base[frame + 5 :]
    yield "no-height.jpg", base[: frame + 5] + b"\0\0" + base[frame + 7 :]
    yield "cut.jpg", base[: len(base) - 60]
    yield "no-end.jpg", base[:-2]
    yield "cut-then-second.jpg", base[: len(base) - 60] + cjpeg("-sample", "1x1")
    progressive = cjpeg("-progressive")
    yield "unfinished.jpg", progressive[: progressive.rindex(b"\xff\xc4")] + b"\xff\xd9"
    yield "claims-more.jpg", base[: frame + 5] + b"\x60\x00\x60\x00" + base[frame + 9 :]
    png = encoded(picture(W, H), "PNG")
    yield "cut.png", png[:-100]
    yield "no-end.png", png[:-12]
    yield "flipped.png", png[:60] + bytes([png[60] ^ 1]) + png[61:]
    yield "cut.webp", encoded(picture(W, H), "WEBP")[:-9]
    pixels = numpy.asarray(picture(W, H))
    tags = {258: ("H", [8] * 3), 262: ("H", [2]), 277: ("H", [3])}
    yield "cut.tif", tiff("<", tags, pixels.tobytes())[:-1]
    yield "turned.tif", tiff("<", tags | {274: ("H", [6])}, pixels.tobytes())
    yield "planes.tif", tiff("<", tags | {284: ("H", [2])}, pixels.tobytes())
    yield "jpeg.tif", encoded(picture(W, H), "TIFF", compression="jpeg")
    yield "palette.tif", encoded(picture(W, H).convert("P"), "TIFF")
    yield "cut.bmp", encoded(picture(W, H), "BMP")[:-5]
    run_lengths = encoded(picture(W, H).convert("P"), "BMP")
    yield "run-lengths.bmp", run_lengths[:30] + b"\1" + run_lengths[31:]
    yield "cut.ppm", ppm(picture(W, H))[:-1]
    yield "gif.png", encoded(picture(W, H), "GIF")
    yield "page.jpg", b"<html>not found</html>"
    yield "empty.jpg", b""


def main():
    folder = Path(sys.argv[1])
    for name, files in [("good", good()), ("refused", refused())]:
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
        for file, data in files:
            path = folder / name / file
            path.write_bytes(data)
            if name == "good":
                (folder / name / f"{file}.ppm").write_bytes(ppm(Image.open(path).convert("RGB")))


main()
