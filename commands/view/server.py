"""The viewer over a loopback connection, for what is too large for one file, and for review.

It listens on 127.0.0.1 alone.  Every request must name this very address in `Host` (so that no other site's name can be
bound to it) and carry the token that was printed; those that change something must be JSON, and may come from no other
origin.  What a browser sends is a number of a sequence and of a frame, looked up in lists, and a verdict or points:
none of it is ever used as a path.  All that is written is review.csv, by `Source.judge`, and corrections, by
`Source.correct`.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import threading
from collections import OrderedDict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from mimicme.commands.view.page import common, described, render_page
from mimicme.commands.view.scene import Scene
from mimicme.commands.view.sources import Source
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import MimicmeError
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.items import Verdict
from mimicme.pipeline.landmarks import IBUG68, N_LANDMARKS
from mimicme.pipeline.review import BAD, GOOD

ADDRESS = "127.0.0.1"
MAX_BODY = 16_384
MAX_MM = 1e5
"""How far from the middle a point can be."""
KEPT_FRAMES = 64
TIMEOUT_S = 30
TAKE_BACK = "none"
_SEQUENCE = re.compile(r"/sequence/(\d{1,9})")
_FRAME = re.compile(r"/frame/(\d{1,9})/(\d{1,9})")


class RefusedError(Exception):
    """A request that is not answered: a status and a sentence."""

    def __init__(self, status: HTTPStatus, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said


class ViewServer(ThreadingHTTPServer):
    """Serves one source to whoever has the token.

    Args:
        source: what is shown.
        scene: packs it.
        place: of the sequence that is shown first.
        port: 0: any that is free.
    """

    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, source: Source, scene: Scene, place: int = 0, port: int = 0) -> None:
        super().__init__((ADDRESS, port), _Handler)
        self.source, self.scene, self.place = source, scene, place
        self.token = secrets.token_urlsafe(24)
        self._working = threading.Lock()  # HDF5 and the renderer work for one at a time anyway
        self._template: bytes | None = None
        self._frames: OrderedDict[tuple[int, int], tuple[str, bytes]] = OrderedDict()

    @property
    def host(self) -> str:
        """What `Host` must be."""
        return f"{ADDRESS}:{self.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/?token={self.token}"

    def page(self) -> str:
        given = {
            **common(True, self.source.shapes),
            "token": self.token,
            "place": self.place,
            "names": [str(item) for item in self.source.items],
            "review": self.source.reviewed,
            "landmark_names": IBUG68,
        }
        return render_page(f"mimicme view: {self.source.title}", given, {}, server=True)

    def template(self) -> bytes:
        with self._working:
            if self._template is None:
                self._template = self.scene.template_payload()
            return self._template

    def shapes(self) -> bytes:
        """See `Scene.shapes_payload`.

        Raises:
            RefusedError: there are none.
        """
        if not self.source.shapes:
            raise RefusedError(HTTPStatus.NOT_FOUND, "There are no shapes.")
        with self._working:
            return self.scene.shapes_payload(self.source.shapes)

    def sequence(self, place: int) -> dict[str, Any]:
        """See `page.described`; and `version`, of `frame`.

        Raises:
            RefusedError: there is none at this place.
        """
        if place >= len(self.source.items):
            raise RefusedError(HTTPStatus.NOT_FOUND, "There is no such sequence.")
        with self._working:
            version = f'"{self.source.version(place)}"'
            return {**described(self.source.sequence(place)), "version": version}

    def frame(self, place: int, row: int, known: str = "") -> tuple[str, bytes | None]:
        """A frame as `Scene.frame_payload` packs it, with what tells it from what its place held before.

        Args:
            known: what was said of it when it was last sent; while it is the same, nothing is sent again (None).

        Raises:
            RefusedError: there is no such frame.
        """
        if place >= len(self.source.items):
            raise RefusedError(HTTPStatus.NOT_FOUND, "There is no such sequence.")
        with self._working:
            key = place, row
            try:
                # before the frame is read: what is written meanwhile is another version the next time
                version = f'"{self.source.version(place)}"'
                if version == known:
                    return version, None
                if key not in self._frames or self._frames[key][0] != version:
                    self._frames[key] = version, self.scene.frame_payload(self.source.frame(place, row))
            except IndexError:
                raise RefusedError(HTTPStatus.NOT_FOUND, "There is no such frame.") from None
            while len(self._frames) > KEPT_FRAMES:
                self._frames.popitem(last=False)
            self._frames.move_to_end(key)
            return self._frames[key]

    def judge(self, said: Any) -> dict[str, Any]:
        """Write a verdict down; what is said of its sequence then.

        Args:
            said: as view.js sends it: place, row (None: all frames), the item and the frame's number (None: all) that
                the person sees there, verdict, reason.

        Raises:
            RefusedError: it is no verdict on something that is there.
            CheckpointError: the sequence cannot be read; nothing is written.
        """
        if not self.source.reviewed:
            raise RefusedError(HTTPStatus.FORBIDDEN, "A release is not reviewed; look at its workspace.")
        place, row, verdict, reason = _parsed(said)
        if place >= len(self.source.items):
            raise RefusedError(HTTPStatus.NOT_FOUND, "There is no such sequence.")
        with self._working:
            self._check_seen(place, row, said)
            self.source.judge(place, row, None if verdict == TAKE_BACK else Verdict(verdict == GOOD, reason))
        return self.sequence(place)

    def correct(self, said: Any) -> dict[str, Any]:
        """Write corrected landmarks down, each on the scan's surface; what is said of its sequence then.

        Args:
            said: as view.js sends it: place, row, item, number, moved: a list of [number, x, y, z], mm, from
                the middle of what is shown; none: the correction is taken back.

        Raises:
            RefusedError: these are no points of a frame that is there.
        """
        if not self.source.reviewed:
            raise RefusedError(HTTPStatus.FORBIDDEN, "A release is not corrected; look at its workspace.")
        place, row, points = _parsed_points(said)
        if place >= len(self.source.items):
            raise RefusedError(HTTPStatus.NOT_FOUND, "There is no such sequence.")
        with self._working:
            self._check_seen(place, row, said)
            self.source.correct(place, row, self._on_scan(place, row, points) if points else {})
        return self.sequence(place)

    def _check_seen(self, place: int, row: int | None, said: dict[str, Any]) -> None:
        """Whether what a person sees is what lies at a place.

        Raises:
            RefusedError: it is another sequence or frame, or there is none.
        """
        entry = self.source.sequence(place)
        if row is not None and row >= len(entry.frames):
            raise RefusedError(HTTPStatus.NOT_FOUND, "There is no such frame.")
        number = None if row is None else entry.frames[row].number
        if (said["item"], said["number"]) != (str(entry.item), number):
            raise RefusedError(HTTPStatus.CONFLICT, "The page shows another frame. Load it again.")

    def _on_scan(self, place: int, row: int, points: dict[int, Floats]) -> dict[int, Floats]:
        """Points of what is shown as the nearest ones on the frame's scan, in its frame."""
        frame = self.source.frame(place, row)
        if frame.scan is None:
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "The frame has no scan to correct on.")
        shown = np.array(list(points.values())) + self.scene.middle
        in_scan = transform(inverse(self.scene.shown_from_scan(frame)), shown)
        found = Surface(frame.scan.vertices, frame.scan.faces).closest(in_scan)
        return dict(zip(points, found.points, strict=True))


def _parsed_points(said: Any) -> tuple[int, int, dict[int, Floats]]:
    if not isinstance(said, dict) or sorted(said) != ["item", "moved", "number", "place", "row"]:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "A correction has place, row, item, number, moved.")
    place, row, points = said["place"], said["row"], said["moved"]
    if not all(_is_number(n) for n in (place, row)):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "Sequence and frame are whole numbers.")
    if not isinstance(points, list) or len(points) > N_LANDMARKS or not all(map(_is_point, points)):
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"Points are [0 to {N_LANDMARKS - 1}, x, y, z] in mm.")
    return place, row, {point[0]: np.array(point[1:], np.float64) for point in points}


def _is_point(said: Any) -> bool:
    if not isinstance(said, list) or len(said) != 4 or type(said[0]) is not int:
        return False
    whole = all(type(x) in (int, float) and abs(x) <= MAX_MM for x in said[1:])  # NaN is not either
    return whole and 0 <= said[0] < N_LANDMARKS


def _is_number(said: Any) -> bool:
    return type(said) is int and 0 <= said < 10**9


def _parsed(said: Any) -> tuple[int, int | None, str, str]:
    fields = ("place", "row", "item", "number", "verdict", "reason")
    if not isinstance(said, dict) or sorted(said) != sorted(fields):
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"A verdict has {', '.join(fields)}.")
    place, row, verdict, reason = (said[name] for name in ("place", "row", "verdict", "reason"))
    if not _is_number(place) or not (row is None or _is_number(row)):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "Sequence and frame are whole numbers.")
    if verdict not in (GOOD, BAD, TAKE_BACK) or not isinstance(reason, str):
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"A verdict is {GOOD}, {BAD} or {TAKE_BACK}.")
    return place, row, verdict, reason.strip()


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection; `server` is the `ViewServer`."""

    server: ViewServer
    server_version, sys_version = "mimicme", ""
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        self._answered(self._get)

    def do_POST(self) -> None:
        self._answered(self._post)

    def _answered(self, answer: Any) -> None:
        try:
            self._check_host()
            answer()
        except RefusedError as error:
            self.close_connection = True  # a body may not have been read
            self._send(error.said.encode(), "text/plain; charset=utf-8", error.status)
        except MimicmeError as error:
            self._send(str(error).encode(), "text/plain; charset=utf-8", HTTPStatus.UNPROCESSABLE_ENTITY)
        except ConnectionError:  # the browser has gone
            self.close_connection = True
        except OSError as error:
            self._fail(f"The disk failed: {error.strerror or error}.")
        except Exception as error:
            self._fail(f"The viewer failed: {type(error).__name__}: {error}.")

    def _fail(self, said: str) -> None:
        self.close_connection = True
        self._send(said.encode(), "text/plain; charset=utf-8", HTTPStatus.INTERNAL_SERVER_ERROR)

    def _check_host(self) -> None:
        if self.headers.get_all("Host") != [self.server.host]:
            raise RefusedError(HTTPStatus.FORBIDDEN, f"This server answers as {self.server.host} alone.")
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{self.server.host}":
            raise RefusedError(HTTPStatus.FORBIDDEN, "Requests of other sites are not answered.")

    def _check_token(self, given: str | None) -> None:
        if not hmac.compare_digest((given or "").encode(), self.server.token.encode()):
            raise RefusedError(
                HTTPStatus.FORBIDDEN, "The address lacks the token that `mimicme view` printed."
            )

    def _get(self) -> None:
        address = urlsplit(self.path)
        if address.path == "/":
            self._check_token(next(iter(parse_qs(address.query).get("token", [])), None))
            self._send(self.server.page().encode(), "text/html; charset=utf-8")
            return
        self._check_token(self.headers.get("X-Token"))
        if address.path == "/template":
            self._send(self.server.template(), "application/octet-stream")
        elif address.path == "/shapes":
            self._send(self.server.shapes(), "application/octet-stream")
        elif found := _SEQUENCE.fullmatch(address.path):
            self._send_json(self.server.sequence(int(found[1])))
        elif found := _FRAME.fullmatch(address.path):
            known = self.headers.get("If-None-Match", "")
            version, packed = self.server.frame(int(found[1]), int(found[2]), known)
            status = HTTPStatus.OK if packed is not None else HTTPStatus.NOT_MODIFIED
            self._send(packed or b"", "application/octet-stream", status, version)
        else:
            raise RefusedError(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def _post(self) -> None:
        self._check_token(self.headers.get("X-Token"))
        answers = {"/verdict": self.server.judge, "/landmarks": self.server.correct}
        answer = answers.get(self.path)
        if answer is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "There is nothing here.")
        if self.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "What is said must be JSON.")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()) or len(length) > 9 or int(length) > MAX_BODY:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"At most {MAX_BODY} bytes are read.")
        try:
            said = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "This is no JSON.") from None
        self._send_json(answer(said))

    def _send_json(self, said: Any) -> None:
        self._send(json.dumps(said).encode(), "application/json")

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, version: str = "") -> None:
        self.send_response(status)
        if version:
            self.send_header("ETag", version)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the address that would be logged carries the token."""
