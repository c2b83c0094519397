"""The chunks of a PNG (ISO/IEC 15948): their checksums."""

import zlib
from pathlib import Path

from cvbench.data.files import checksum, refuse

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DRAWN = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"IDAT", b"fdAT")
"""The chunks of a PNG that decide its pixels."""


def check_png(path: Path) -> None:
    """Refuse a PNG one of whose chunks has a wrong CRC: Pillow looks at few, and inflates no further than it must."""
    with path.open("rb") as file:
        if file.read(8) != SIGNATURE:
            return
        while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
            size, kind = int.from_bytes(head[:4]), head[4:]
            if kind not in DRAWN:
                file.seek(size + 4, 1)
                continue
            made, kept = checksum(file, size, zlib.crc32(kind)), file.read(4)
            if len(kept) < 4:
                refuse(path, "the file is truncated; fetch it again")
            if made != int.from_bytes(kept):
                refuse(path, f"the checksum of its {kind.decode()} data is wrong; replace or remove the file")
