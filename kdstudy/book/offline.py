"""Whether built pages stand alone: what they load from the web, and which local files they miss."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"src", "srcset", "poster", "data", "xlink:href"}  # attributes whose address a browser loads
LINKED = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "manifest"}
IN_CSS = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")


class _References(HTMLParser):
    """What a page refers to: (tag, address, whether a browser loads it by itself)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, bool]] = []
        self.style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the addresses in a tag's attributes."""
        self.style = tag == "style"
        linked = tag in ("image", "use") or bool(LINKED & set((dict(attrs).get("rel") or "").lower().split()))
        for name, value in attrs:
            several = name == "srcset" and not (value or "").startswith("data:")
            for address in [v.split()[0] for v in (value or "").split(",") if v.strip()] if several else [value or ""]:
                if name in LOADED or name == "href":
                    self.found.append((tag, address, name in LOADED or linked))
            if name == "style":
                self.handle_css(value or "")

    def handle_data(self, data: str) -> None:
        """Collect the addresses in a style sheet of the page."""
        if self.style:
            self.handle_css(data)

    def handle_css(self, text: str) -> None:
        """Collect the addresses in CSS."""
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        self.found += [("css", (a or b).strip(), True) for a, b in IN_CSS.findall(text)]


def offline_report(html_dir: Path) -> list[str]:
    """Everything that pages and style sheets load from the web, and every local file that they miss."""
    faults = []
    pages = [p for p in html_dir.rglob("*.html") if "_static" not in p.relative_to(html_dir).parts]
    for path in sorted([*pages, *html_dir.rglob("*.css")]):
        references, text = _References(), path.read_text("utf-8")
        references.feed(text) if path.suffix == ".html" else references.handle_css(text)
        for tag, address, loaded in dict.fromkeys(references.found):
            url = urlsplit(address)
            where = f"{path.relative_to(html_dir).as_posix()}: {tag}"
            if loaded and (url.netloc or url.scheme in ("http", "https")):
                faults.append(f"{where} loads {address}")
            elif url.path and not (url.scheme or url.netloc) and not _there(path, url.path):
                faults.append(f"{where} misses {address}")
    return faults


def _there(page: Path, address: str) -> bool:
    """Whether a page's relative address leads to a file (one from the server's root does not, on disk)."""
    return not address.startswith("/") and (page.parent / unquote(address)).exists()
