"""The page at `/`: static files, read once, that may load nothing from elsewhere and run no script but their own."""

from functools import cache
from importlib.resources import files
from pathlib import PurePath

from fastapi import APIRouter, Request
from fastapi.responses import Response

from nextword.core.files import fingerprint
from nextword.serve.errors import Refusal
from nextword.serve.service import Service

PLACE = 11
FOLDER = files("nextword.serve") / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = "; ".join(
    ["default-src 'none'"]
    + [f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")]
    + [f"{kind} 'none'" for kind in ("base-uri", "form-action", "frame-ancestors")]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # asked for again each time, and mostly answered with 304
}


@cache
def content() -> dict[str, bytes]:
    """The page's files by name."""
    return {file.name: file.read_bytes() for file in FOLDER.iterdir() if PurePath(file.name).suffix in TYPES}


def router(service: Service) -> APIRouter:
    """GET / and GET /page/FILE."""
    routes = APIRouter()

    @routes.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return sent(request, "index.html")

    @routes.get("/page/{name}", include_in_schema=False)
    async def file(request: Request, name: str) -> Response:
        return sent(request, name)

    return routes


def sent(request: Request, name: str) -> Response:
    """A file, or that it has not changed; Refusal 404."""
    found = content().get(name)
    if found is None:
        raise Refusal(404, f"no file {name!r} belongs to the page")
    headers = {**HEADERS, "ETag": f'"{fingerprint(found.decode())}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(None, 304, headers)
    return Response(found, headers=headers, media_type=TYPES[PurePath(name).suffix])
