"""Files of paragraphs, as dpkg and apk write them: lines, and an empty line after each paragraph."""

from collections.abc import Iterator


def paragraphs(content: bytes) -> Iterator[bytes]:
    """Yields the paragraphs of a file, without copying all of them at once."""
    start = 0
    while start < len(content):
        end = content.find(b"\n\n", start)
        end = len(content) if end < 0 else end
        yield content[start:end]
        start = end + 2
