"""Times in the names of frames: dates with a time of day, times of day, Unix times, seconds with a fraction.

All names of a sequence must carry a time of one kind.  Whether digits are a time or count frames is told by how they
vary within the sequence: `1.0001, 1.0002` counts, `0.967, 1.000` is seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median

from mimicme.pipeline.captures.name_fractions import Reading, groups, places_of, reading_of

SECOND = 10**9
"""Times are whole nanoseconds, so that no rounding decides on an order."""

_DAY = 86_400 * SECOND
_EPOCH = range(1_262_304_000, 2_000_000_000)  # 2010 to 2033; dates with a counter, as 2026013101, lie above
_SMALLEST_FPS, _LARGEST_FPS = 0.01, 10_000.0
_JITTER = 2e-4  # of a clock; 29.97 is not 30
_AFTER_SECOND = {"date": 6, "clock": 3, "unix": 1, "fraction": 1}  # place in `NameTime.parts`

_DATE = r"(?P<Y>(?:19|20)\d\d)(?P<sep>[-_.]?)(?P<M>\d\d)(?P=sep)(?P<D>\d\d)"
_HALF = r"[-_. ]*(?P<half>[aApP])\.?[mM](?![A-Za-z])"  # of the day: AM, PM
_HOUR = rf"\d\d|\d(?=[-_.:]\d\d[-_.:]\d\d(?:[.,_-]\d+)?{_HALF.replace('(?P<half>', '(?:')})"
_CLOCK = (
    r"(?P<h>{hour})(?P<a>{sep})(?P<m>\d\d)(?P<b>{sep})(?P<s>\d\d)(?:(?P<dot>[.,_-]){dot}(?P<f>\d{{1,9}}))?"
)
_DATE_TIME = re.compile(
    rf"(?<!\d){_DATE}(?P<T>[T_ .-]?){_CLOCK.format(hour=_HOUR, sep='[-_.:hHmM]?', dot='?')}(?!\d)", re.ASCII
)
_DATE_ALONE = re.compile(rf"(?<!\d){_DATE}(?!\d)", re.ASCII)
_DATE_BACKWARDS = re.compile(
    r"(?<![\d.])(?P<one>\d\d?)(?P<sep>[-_.])(?P<two>\d\d?)(?P=sep)(?P<Y>(?:19|20)\d\d)(?!\d)", re.ASCII
)
_TIME_OF_DAY = re.compile(rf"(?<!\d){_CLOCK.format(hour=_HOUR, sep='[-_.:hHmM]', dot='')}(?!\d)", re.ASCII)
_HALF_AFTER = re.compile(_HALF, re.ASCII)
_HALF_BEFORE = re.compile(r"(?<![A-Za-z])(?P<half>[aApP])\.?[mM][-_. ]*$", re.ASCII)
_MONTH = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])(?![-_.]?\d)", re.ASCII)
_UNIX = re.compile(r"(?<!\d)(?P<i>\d{19}|\d{16}|\d{13}|\d{10}(?:[.,](?P<f>\d{1,9}))?)(?!\d)", re.ASCII)
_WITH_UNIT = re.compile(
    r"(?<![\d.,])(?P<sign>-?)(?P<i>\d+)(?:[.,](?P<f>\d{1,9}))? ?(?P<measure>seconds?|secs?|msec|ms|usec|us|s)(?![a-z])",
    re.ASCII | re.IGNORECASE,
)
_FRACTION = re.compile(
    r"(?<![\d.,])(?P<sign>-?)(?P<i>\d+)(?P<dot>[.,])(?P<f>\d{1,9})(?![\d]|[.,]\d)", re.ASCII
)
_NUMBER = re.compile(r"(?P<sign>-?)(?P<i>\d{1,12})(?:(?P<dot>[.,])(?P<f>\d{1,9}))?", re.ASCII)


@dataclass(frozen=True)
class NameTime:
    """The time that a name carries.

    Attributes:
        ns: nanoseconds since an origin that all names of the sequence share.
        resolution_ns: of the last digit.
        span: where in the name it stands.
        parts: the numbers it is made of, coarse to fine, as text; the last is the fraction where there is one.
        half: of the day, `a` or `p`, where the name says AM or PM; the hour in `parts` is then of 24.
    """

    ns: int
    resolution_ns: int
    span: tuple[int, int]
    parts: tuple[str, ...]
    half: str = ""


@dataclass(frozen=True)
class Times:
    """The times of a sequence's names.

    Attributes:
        kind: `date` (and time of day), `unix`, `day`, `clock`, `unit` or `fraction`.
        of: by name.
        shape: what names of this kind look like, so that sequences can be compared.
        doubt: why nobody can tell which times they are, a sentence without a full stop; empty: it is clear.
        instead: of doubtful times, all that they may be; empty: not to be told.
    """

    kind: str
    of: dict[str, NameTime]
    shape: str
    doubt: str = ""
    instead: tuple[Times, ...] = ()

    @property
    def absolute(self) -> bool:
        """Whether times of several recordings cannot be mixed up."""
        return self.kind in ("date", "unix", "day")


def times_in(texts: Sequence[str], expected: frozenset[str] = frozenset(), own: str = "") -> Times | None:
    """The times that the names of a sequence carry; None: they carry none.

    Args:
        texts: the frame parts of its files' names, each once.
        expected: shapes of times in other sequences: these are times even where too little varies to tell.
        own: the sequence's own name; a number of that name before a dot is no second.
    """
    for kind, reader, rule in _KINDS:
        read = reader(texts)
        if read is None:
            continue
        shape = _shape(texts[0], read[texts[0]])
        reading = _reading(kind, read, shape, expected)
        times = _times(reading, kind, read, shape)
        named = kind == "fraction" and own in {time.parts[0] for time in read.values()}
        if not named and (times.shape in expected or (_differ(times.of) and rule(texts, times.of, reading))):
            return times
    return None


def fps_of(ordered: Sequence[int], numbers: Sequence[int], resolution_ns: int) -> float | None:
    """Frames per second by the median step of times in nanoseconds; None: they tell none.

    Steps that are missing are counted.  The roundest rate is taken that the times, as they are rounded, allow.
    """
    step = step_of(ordered, numbers, resolution_ns)
    if step is None:
        return None
    count = max(1, round((ordered[-1] - ordered[0]) / step))
    rate, loose = SECOND / step, step * _JITTER + resolution_ns / count
    least, most = SECOND / (step + loose), SECOND / max(step - loose, 1e-9)
    for rounded in (round(rate), round(rate * 1.001) / 1.001, round(rate, 1), round(rate, 3)):
        if least <= rounded <= most and rounded > 0:
            rate = float(rounded)
            break
    return rate if _SMALLEST_FPS <= rate <= _LARGEST_FPS else None


def step_of(ordered: Sequence[int], numbers: Sequence[int], resolution_ns: int) -> float | None:
    """Nanoseconds from frame to frame, without what is missing between them; None: not to be told.

    Args:
        ordered: times in order; numbers: of the frames that have them.
    """
    steps = [b - a for a, b in pairwise(ordered)]
    if not steps or ordered[-1] <= ordered[0]:
        return None
    middle = median(step / max(1, b - a) for step, (a, b) in zip(steps, pairwise(numbers), strict=True))
    counts = [max(1, round((step - resolution_ns) / middle)) if middle > 0 else 1 for step in steps]
    return (ordered[-1] - ordered[0]) / sum(counts)


# ------------------------------------------------------------------------------------------------ the kinds

Found = dict[str, NameTime]


def _date_times(texts: Sequence[str]) -> Found | None:
    return _clocks(texts, _DATE_TIME)


def _times_of_day(texts: Sequence[str]) -> Found | None:
    found = _clocks(texts, _TIME_OF_DAY)
    return None if found is None else _over_midnight(found)


def are_visits(texts: Sequence[str]) -> bool:
    """Whether every name carries a date, or a month of a year, of its own: days between them are no lost frames."""
    dates = _dates(texts)
    if dates is not None:
        return len({time.ns for time in dates.values()}) == len(texts)
    months = [match.groups() for match in map(_MONTH.search, texts) if match is not None]
    return len(set(months)) == len(texts)


def _dates(texts: Sequence[str]) -> Found | None:
    return _dates_forwards(texts) or _dates_backwards(texts)


def are_doubtful_dates(texts: Sequence[str]) -> bool:
    """Whether all names carry dates with the year last of which nobody can tell the day from the month."""
    read = _backwards(texts)
    return read is not None and bool(read[0] and read[1]) and _dates_backwards(texts) is None


def _dates_backwards(texts: Sequence[str]) -> Found | None:
    """Dates with the year last: day first with dots; else day or month first as one of them is over 12, or as it does
    not matter for their order."""
    read = _backwards(texts)
    if read is None:
        return None
    day_first, month_first, dotted = read
    if day_first and month_first and not dotted:
        orders = [sorted(texts, key=lambda text: found[text].ns) for found in (day_first, month_first)]
        return day_first if orders[0] == orders[1] else None
    return day_first or (None if dotted else month_first)


def _backwards(texts: Sequence[str]) -> tuple[Found | None, Found | None, bool] | None:
    """The names' dates by day first and by month first, where these are dates, and whether all have dots."""
    matches = {text: _DATE_BACKWARDS.search(text) for text in texts}
    seen = {text: match for text, match in matches.items() if match is not None}
    if len(seen) < len(matches):
        return None

    def dates(day: str, month: str) -> Found | None:
        found = {}
        for text, match in seen.items():
            try:
                when = datetime(int(match["Y"]), int(match[month]), int(match[day]), tzinfo=UTC)
            except ValueError:
                return None
            parts = (match["Y"], match[month], match[day])
            found[text] = NameTime(round(when.timestamp()) * SECOND, _DAY, match.span(), parts)
        return found

    return dates("one", "two"), dates("two", "one"), all(match["sep"] == "." for match in seen.values())


def _dates_forwards(texts: Sequence[str]) -> Found | None:
    found = {}
    for text in texts:
        match = _DATE_ALONE.search(text)
        try:
            when = datetime(int(match["Y"]), int(match["M"]), int(match["D"]), tzinfo=UTC) if match else None
        except ValueError:
            return None
        if match is None or when is None:
            return None
        found[text] = NameTime(
            round(when.timestamp()) * SECOND, _DAY, match.span(), (match["Y"], match["M"], match["D"])
        )
    return found


def _clocks(texts: Sequence[str], pattern: re.Pattern[str]) -> Found | None:
    matches = [match for match in map(pattern.search, texts) if match is not None]
    if len(matches) < len(texts):
        return None
    halves = [_half(text, match) for text, match in zip(texts, matches, strict=True)]
    hours = [int(match["h"]) for match in matches]
    if all(halves) and max(hours) <= 12:  # beyond it AM and PM stand beside hours of 24
        hours = [
            hour % 12 + (12 if half["half"] in "pP" else 0)
            for hour, half in zip(hours, halves, strict=True)
            if half is not None
        ]
    with_fraction = _has_fractions(matches, hours)
    found = {}
    for text, match, hour, half in zip(texts, matches, hours, halves, strict=True):
        time = _clock(match, hour, with_fraction)
        if time is None:
            return None
        if half is not None:
            start, end = time.span
            if half.end() <= start:
                start = half.start()
            elif end == match.end():  # no counter between the time and it
                end = half.end()
            time = replace(time, span=(start, end), half=half["half"].lower())
        found[text] = time
    return found


def _half(text: str, clock: re.Match[str]) -> re.Match[str] | None:
    """AM or PM beside a time of day: after it, else before it."""
    return _HALF_AFTER.match(text, clock.end()) or _HALF_BEFORE.search(text, 0, clock.start())


def _has_fractions(matches: Sequence[re.Match[str]], hours: Sequence[int]) -> bool:
    """Whether the digits after the seconds are a fraction of them; else they count frames."""
    if any(match["f"] is None for match in matches):
        return False
    if any(match["dot"] is None and len(match["f"]) not in (3, 6) for match in matches):
        return False
    units = _units(matches[0])
    ordered = sorted(
        (*(match[name] for name in units[:-3]), hour, match["m"], match["s"], int(match["f"]))
        for match, hour in zip(matches, hours, strict=True)
    )
    return not _counts([int(entry[-1]) for entry in ordered])


def _units(match: re.Match[str]) -> list[str]:
    return [name for name in ("Y", "M", "D", "h", "m", "s") if name in match.groupdict()]


def _clock(match: re.Match[str], hour: int, with_fraction: bool) -> NameTime | None:
    """The time of a match; None: it is none (a thirteenth month, separators that differ)."""
    between = (match["a"].lower(), match["b"].lower())
    if between != ("h", "m") and (between[0] != between[1] or between[0] in ("h", "m")):
        return None
    units = _units(match)
    date = [int(match[name]) for name in units[:-3]] or [1970, 1, 1]
    try:
        when = datetime(date[0], date[1], date[2], hour, int(match["m"]), int(match["s"]), tzinfo=UTC)
    except ValueError:
        return None
    fraction = match["f"] if with_fraction else ""
    parts = (*(match[name] for name in units[:-3]), f"{hour:02d}", match["m"], match["s"])
    return NameTime(
        round(when.timestamp()) * SECOND + _nanoseconds(fraction),
        SECOND // 10 ** len(fraction),
        (match.start(), match.end("f" if with_fraction else "s")),
        (*parts, *([fraction] if fraction else [])),
    )


def _over_midnight(found: Found) -> Found:
    """Times of day of a recording that goes over midnight: those after it are a day later."""
    ordered = sorted(time.ns for time in found.values())
    gap, later = max(((b - a, b) for a, b in pairwise(ordered)), default=(0, 0))
    if gap <= _DAY // 2:
        return found
    return {
        text: time if time.ns >= later else replace(time, ns=time.ns + _DAY) for text, time in found.items()
    }


def _unix_times(texts: Sequence[str]) -> Found | None:
    def read(match: re.Match[str]) -> NameTime:
        seconds, digits = match["i"][:10], match["f"] or match["i"][10:]
        ns = int(seconds) * SECOND + _nanoseconds(digits)
        return NameTime(ns, SECOND // 10 ** len(digits), match.span(), (seconds, digits))

    candidates = [
        [match for match in _UNIX.finditer(text) if int(match["i"][:10]) in _EPOCH] for text in texts
    ]
    return _first_that_varies(texts, candidates, read)


def _with_units(texts: Sequence[str]) -> Found | None:
    candidates = [list(_WITH_UNIT.finditer(text)) for text in texts]
    if not any(m["f"] or m["measure"].lower() != "s" for matches in candidates for m in matches):
        return None  # `1s, 2s` may be anything
    return _numbers(texts, candidates)


def _fractions(texts: Sequence[str]) -> Found | None:
    whole = [_NUMBER.fullmatch(text) for text in texts]
    if all(whole) and any(match is not None and match["f"] for match in whole):
        return _numbers(texts, [[match] for match in whole if match is not None])
    return _numbers(texts, [list(_FRACTION.finditer(text)) for text in texts])


def _numbers(texts: Sequence[str], candidates: Sequence[list[re.Match[str]]]) -> Found | None:
    # a dash that stands in all names, and not first, separates
    signed = any(not match["sign"] or match.start() == 0 for matches in candidates for match in matches[:1])

    def read(match: re.Match[str]) -> NameTime:
        scale = {"m": 10**6, "u": 10**3}.get(match.groupdict().get("measure", "s")[0].lower(), SECOND)
        digits = match["f"] or ""
        ns = (int(match["i"]) * SECOND + _nanoseconds(digits)) * scale // SECOND
        return NameTime(
            -ns if match["sign"] and signed else ns,
            max(1, scale // 10 ** len(digits)),
            (match.start() if signed else match.start("i"), match.end()),
            (match["i"], digits) if digits else (match["i"],),
        )

    return _first_that_varies(texts, candidates, read)


def _first_that_varies(
    texts: Sequence[str],
    candidates: Sequence[list[re.Match[str]]],
    read: Callable[[re.Match[str]], NameTime],
) -> Found | None:
    """Of what may be a time in the names, the first place at which it differs between them; else the first."""
    found: list[Found] = []
    for place in range(min(map(len, candidates), default=0)):
        one = {text: read(matches[place]) for text, matches in zip(texts, candidates, strict=True)}
        finest = min(time.resolution_ns for time in one.values())
        found.append({text: replace(time, resolution_ns=finest) for text, time in one.items()})
        if _differ(found[-1]):
            return found[-1]
    return found[0] if found else None


def _digits(kind: str, found: Found) -> dict[str, tuple[int, str]]:
    """The whole second and the digits after it, by name; none: the kind has none, or some are before the origin."""
    place = _AFTER_SECOND.get(kind)
    if place is None or any(time.ns < 0 for time in found.values()):
        return {}
    after = {text: time.parts[place] if len(time.parts) > place else "" for text, time in found.items()}
    return {
        text: ((time.ns - _nanoseconds(after[text])) // SECOND, after[text]) for text, time in found.items()
    }


def _reading(kind: str, found: Found, shape: str, expected: frozenset[str]) -> Reading:
    """What the digits after the seconds are; where they do not tell, what those of other sequences are."""
    reading = reading_of(_digits(kind, found).values())
    if reading == "counts" and kind != "fraction":
        reading = "unclear"  # a counter within each second tells no times
    decimal, whole = (f"{name}:{shape}" in expected for name in (kind, f"{kind}-whole"))
    if reading != "unclear" or decimal == whole:
        return reading
    return "decimal" if decimal else "whole"


def _times(reading: Reading, kind: str, found: Found, shape: str) -> Times:
    """Times by what the digits after their seconds are."""
    doubt = ""
    instead: tuple[Times, ...] = ()
    if {bool(time.half) for time in found.values()} == {False, True}:
        doubt = "only some of its files' names say AM or PM (write hours from 00 to 23)"
    elif reading == "unclear":
        doubt = (
            "the digits after the seconds in its files' names may be decimals, whole milliseconds or a counter "
            "(write equally many in every name: 0.900, 0.950)"
        )
        instead = (_times("decimal", kind, found, shape), _times("whole", kind, found, shape))
    if reading in ("whole", "seconds"):
        digits = _digits(kind, found)
        places = places_of(after for _, after in digits.values()) if reading == "whole" else 0
        unit = SECOND // 10**places
        found = {
            text: replace(
                time,
                ns=digits[text][0] * SECOND + (int(digits[text][1] or 0) * unit if places else 0),
                resolution_ns=unit,
            )
            for text, time in found.items()
        }
    name = f"{kind}-whole" if reading == "whole" else kind
    return Times(kind, found, f"{name}:{shape}", doubt, instead)


def _differ(found: Found) -> bool:
    return len({time.ns for time in found.values()}) > 1


def _nanoseconds(fraction: str) -> int:
    return int(fraction[:9].ljust(9, "0")) if fraction else 0


# ------------------------------------------------------------------- whether what varies is a time or counts

Rule = Callable[[Sequence[str], Found, Reading], bool]


def _is_date(texts: Sequence[str], found: Found, reading: Reading) -> bool:
    """`20260131_000012` is a date and a counter where that alone varies, before one in the morning."""
    if any(time.half for time in found.values()):
        return True
    times = [time.parts for time in found.values()]
    written = [text[slice(*time.span)] for text, time in found.items()]
    told = any(re.search(r"\dT\d|\d\d[-_:h.]\d\d[-_:m.]\d\d([.,_-]\d+)?$", text[8:]) for text in written)
    return told or len({time[:3] for time in times}) > 1 or {time[3] for time in times} != {"00"}


def _is_days(texts: Sequence[str], found: Found, reading: Reading) -> bool:
    """Two of years, months and days vary; one alone is a number like any other."""
    columns = zip(*(time.parts for time in found.values()), strict=True)
    return sum(len(set(column)) > 1 for column in columns) > 1


def _is_time_of_day(texts: Sequence[str], found: Found, reading: Reading) -> bool:
    """Two of hours, minutes and seconds vary, or there is a fraction that does not count, or AM or PM."""
    if any(time.half for time in found.values()):
        return True
    times = [time.parts for time in found.values()]
    fractions = {time[3] for time in times if len(time) > 3}
    varying = sum(len({time[k] for time in times}) > 1 for k in range(3))
    if fractions:
        return varying > 1 or len(fractions) > 1
    return varying > 1 and not _restarts([(int(t[0]) * 60 + int(t[1]), int(t[2])) for t in times], 60)


def _is_fraction(texts: Sequence[str], found: Found, reading: Reading) -> bool:
    """`0.967, 1.000`: both sides of the point vary; or one, which does not count."""
    times = [(time.parts[0], time.parts[1] if len(time.parts) > 1 else "") for time in found.values()]
    digits = max(len(fraction) for _, fraction in times)
    pairs = [(int(whole), int(fraction.ljust(digits, "0") or 0)) for whole, fraction in times]
    if len({fraction for _, fraction in pairs}) < 2:
        return False
    alone = all(time.span == (0, len(text)) for text, time in found.items())
    lettered = any(text[: found[text].span[0]][-1:].isalpha() for text in texts)
    wholes = {whole for whole, _ in pairs}
    if reading in ("counts", "seconds"):  # 1.9, 1.10: no decimal point
        return False
    if reading == "whole":  # 1.5, 1.10, 1.15 are numbers
        return 1 < len(wholes) < len(pairs) or (wholes == {0} and not lettered)
    if reading == "unclear":
        return len(wholes) > 1 or wholes == {0} or alone
    if reading == "decimal":
        return True
    if len(wholes) > 1:
        return not _restarts(pairs, 10**digits)
    if any(time.ns < 0 for time in found.values()):
        return True
    first_second = pairs[0][0] == 0 and not lettered
    slow = median(b - a for a, b in pairwise(sorted(time.ns for time in found.values()))) >= SECOND // 1000
    return (alone or first_second) and slow and not _counts(sorted(fraction for _, fraction in pairs))


def _always(texts: Sequence[str], found: Found, reading: Reading) -> bool:
    return True


def _counts(ordered: Sequence[int]) -> bool:
    """Whether numbers in order go up one by one, most of them."""
    steps = [b - a for a, b in pairwise(ordered)]
    return bool(steps) and min(steps) > 0 and median(steps) == 1


def _one_by_one(ordered: Sequence[int]) -> bool:
    return all(b - a == 1 for a, b in pairwise(ordered))


def _restarts(pairs: Iterable[tuple[int, int]], period: int) -> bool:
    """Whether a fine number counts from one start anew for every coarse one: take and frame, not time."""
    found = groups(pairs)
    if max(map(len, found)) < 2 or len({group[0] for group in found}) > 1:
        return False
    through = found[0][0] == 0 and all(group[-1] == period - 1 for group in found[:-1])
    return all(map(_one_by_one, found)) and not through


def _shape(text: str, time: NameTime) -> str:
    return re.sub(r"[0-9]+", "#", f"{text[: time.span[0]]}@{text[time.span[1] :]}").casefold()


_KINDS: tuple[tuple[str, Callable[[Sequence[str]], Found | None], Rule], ...] = (
    ("date", _date_times, _is_date),
    ("unix", _unix_times, _always),
    ("day", _dates, _is_days),
    ("clock", _times_of_day, _is_time_of_day),
    ("unit", _with_units, _always),
    ("fraction", _fractions, _is_fraction),
)
