"""Whether octets begin as an image does: the client's word for it does not count."""

IMAGE_HEAD_BYTES = 32

_SIGNATURES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"\0\0\1\0",
)
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")


def is_image(head: bytes) -> bool:
    """PNG, JPEG, GIF, BMP, TIFF, ICO, WebP, AVIF, HEIF; SVG is a program, so it is none."""
    if head.startswith(_SIGNATURES):
        return True
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS
