"""Metrics, declared once: name, unit, labels and prose feed the code, /metrics and the docs.

A node has one `Metrics`, so an origin and an edge in one process count apart, and a test
reads what exactly one node did.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

#: Seconds; from a cache hit on loopback to a study fetched over a slow line.
LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class MetricKind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table.

    Attributes
    ----------
    name
        Without the prefix ``nearframe_``; ends in its unit, and counters in ``_total``.
    labels
        Each with few, fixed values: never an identifier.
    """

    name: str
    kind: MetricKind
    unit: str
    prose: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = LATENCY_BUCKETS

    @property
    def full_name(self) -> str:
        return f"nearframe_{self.name}"


METRICS: list[Metric] = []


def _counter(name: str, unit: str, prose: str, *labels: str) -> Metric:
    return _declare(Metric(f"{name}_total", MetricKind.COUNTER, unit, prose, labels))


def _gauge(name: str, unit: str, prose: str, *labels: str) -> Metric:
    return _declare(Metric(name, MetricKind.GAUGE, unit, prose, labels))


def _latency(name: str, prose: str, *labels: str) -> Metric:
    return _declare(Metric(f"{name}_seconds", MetricKind.HISTOGRAM, "s", prose, labels))


def _declare(metric: Metric) -> Metric:
    METRICS.append(metric)
    return metric


# -- the table -------------------------------------------------------------------------------

HTTP_REQUESTS = _counter(
    "http_requests", "requests", "Requests answered, by route name and status class (2xx, 4xx …).", "route", "status"
)
HTTP_SECONDS = _latency("http_request", "From the request's headers to the last byte handed to the network.", "route")
HTTP_IN_FLIGHT = _gauge("http_in_flight", "requests", "Requests being answered.")
HTTP_RESPONSE_BYTES = _counter("http_response_bytes", "bytes", "Body bytes handed to the network.", "route")
HTTP_REQUEST_BYTES = _counter("http_request_bytes", "bytes", "Body bytes received.", "route")
HTTP_CUT = _counter("http_cut", "requests", "Requests whose client went away before the answer was complete.", "route")

DIMSE_ASSOCIATIONS = _counter("dimse_associations", "associations", "DICOM associations accepted.")
DIMSE_LOST = _counter(
    "dimse_lost", "associations", "DICOM associations, and beginnings of them, that either side or the line broke off."
)
DIMSE_REJECTED = _counter(
    "dimse_rejected", "associations", "DICOM associations, or connections, that were refused.", "reason"
)

HL7_CONNECTIONS = _gauge("hl7_connections", "connections", "HL7 connections that are open.")
HL7_MESSAGES = _counter(
    "hl7_messages",
    "messages",
    "HL7 messages answered, by type and event (other: one that is not taken) and acknowledgement code.",
    "event",
    "code",
)
HL7_REFUSED = _counter("hl7_refused", "connections", "HL7 connections that were refused or closed for cause.", "reason")

INGEST_INSTANCES = _counter("ingest_instances", "instances", "Instances stored, by what became of them.", "outcome")
INGEST_FAILURES = _counter("ingest_failures", "instances", "Instances not stored, by kind of error.", "reason")
INGEST_BYTES = _counter("ingest_bytes", "bytes", "Bytes of objects taken apart and appended.")
INGEST_COMMITS = _counter("ingest_commits", "groups", "Groups of instances made durable together.")
BACKGROUND_INSTANCES = _counter(
    "background_instances", "instances", "Instances worked on in the background: done or failed.", "consumer", "result"
)
CORRECTIONS = _counter("corrections", "corrections", "Corrections made, by what they do.", "action")
CORRECTED_INSTANCES = _counter("corrected_instances", "instances", "Instances that corrections changed.")
PURGED_INSTANCES = _counter("purged_instances", "instances", "Deleted instances that went for good.")
SERIES_ENDS = _counter("series_ends", "series", "Series that were told to have ended, by what ended them.", "reason")
INGEST_SECONDS = _latency("ingest", "From the last byte of an instance to its being durable.")

SYNC_SENT = _counter(
    "sync_sent", "items", "Feed pages, manifests, deltas, headers, frames, recipes and lists sent to nodes.", "kind"
)
SYNC_SENT_BYTES = _counter("sync_sent_bytes", "bytes", "Their bytes, as sent.", "kind")

SYNC_TAKEN = _counter("sync_taken", "contents", "Headers, frames and bulk values that other nodes sent here.", "kind")
SYNC_TAKEN_BYTES = _counter("sync_taken_bytes", "bytes", "Their bytes, not compressed.", "kind")
OFFERED_INSTANCES = _counter(
    "offered_instances", "instances", "Instances that other nodes offered, by the answer.", "answer"
)

UPSTREAM_ITEMS = _counter(
    "upstream_items", "items", "Feed pages, manifests, deltas, headers, frames, recipes and lists received.", "kind"
)
UPSTREAM_BYTES = _counter("upstream_bytes", "bytes", "Their bytes, as received.", "kind")
UPSTREAM_HEALTHY = _gauge("upstream_healthy", "upstreams", "1 for an upstream that answers, by rank.", "rank")
UPSTREAM_IN_USE = _gauge("upstream_in_use", "upstreams", "1 for the upstream that is followed, by rank.", "rank")
UPSTREAM_SWITCHES = _counter(
    "upstream_switches", "switches", "Times another upstream came into use: one was away, or a better one back.", "why"
)
EDGE_PULLS = _counter(
    "edge_pulls", "studies", "Studies brought up to date: unchanged, by delta, by manifest, removed, or kept.", "how"
)
PACS_COMPARED = _counter(
    "pacs_compared", "studies", "Comparisons of a study with an archive that has no feed: same or changed.", "result"
)
PACS_INSTANCES = _counter("pacs_instances", "instances", "Files retrieved from such an archive.")
PACS_PREFETCHED = _counter(
    "pacs_prefetched",
    "studies",
    "Studies brought from such an archive before anybody asked: of patients on a worklist, or priors of one opened.",
    "why",
)
EDGE_INTEGRITY_FAILURES = _counter(
    "edge_integrity_failures",
    "contents",
    "Deltas, headers and frames from the upstream that did not match their digest, and were not used.",
    "what",
)
EDGE_FILES_SET_ASIDE = _counter(
    "edge_files_set_aside", "files", "Files of the edge's own that were damaged, and begun anew.", "file"
)
EDGE_READS = _counter("edge_reads", "contents", "Contents read: held here, or fetched from the upstream.", "how")
EDGE_READ_BYTES = _counter("edge_read_bytes", "bytes", "Their bytes.", "how")
FRAMES_MADE = _counter(
    "frames_made", "frames", "Native frames made from their renditions, and renditions from native frames.", "form"
)
RECIPES_FOLLOWED = _counter("recipes_followed", "recipes", "Frames that came over the line as recipes.", "operation")
RECIPES_SAVED_BYTES = _counter(
    "recipes_saved_bytes", "bytes", "What they had fewer bytes than the frames in the form wanted.", "operation"
)
RECIPES_REFUSED = _counter(
    "recipes_refused",
    "recipes",
    "Frames that did not come out of their recipe, and were asked for as they are: wrong digest, no such base, or "
    "malformed.",
    "operation",
    "reason",
)
RECIPES_SENT = _counter("recipes_sent", "recipes", "Frames taken in here that went upstream as recipes.", "operation")
RECIPES_SENT_SAVED_BYTES = _counter(
    "recipes_sent_saved_bytes", "bytes", "What they had fewer bytes than the frames.", "operation"
)
EDGE_NOT_KEPT = _counter("edge_not_kept", "contents", "Contents fetched and served that the store had no room for.")

EDGE_MISSES = _counter(
    "edge_misses",
    "contents",
    "Contents fetched for a reader, by the request's class, and why they were not here: never held (cold), put out "
    "for room (evicted), after their time (expired) or by a person (purged), or passed through in bulk (bypass).",
    "urgency",
    "reason",
)
EDGE_EVICTED = _counter(
    "edge_evicted", "studies", "Studies whose frames were let go: for room, expired, or purged.", "urgency", "reason"
)
EDGE_EVICTED_BYTES = _counter("edge_evicted_bytes", "bytes", "Their bytes.", "urgency", "reason")
EDGE_PREFETCHED = _counter(
    "edge_prefetched",
    "contents",
    "Frames fetched before anybody asked: of what was just acquired (push), of priors, and of what a consult is about.",
    "why",
)
EDGE_BUDGET_BYTES = _gauge("edge_budget_bytes", "bytes", "Bytes that this edge may hold.")
EDGE_STUDIES = _gauge(
    "edge_studies", "studies", "Studies followed, by class, and whether frames are held.", "urgency", "held"
)
EDGE_CONSULTS = _gauge("edge_consults", "consults", "Open consults.")
LINE_WAITING = _gauge("line_waiting", "transfers", "Transfers that wait for their turn on the line to the upstream.")
LINE_WAIT_SECONDS = _latency("line_wait", "From a transfer's being wanted to its turn on the line.", "urgency")
LINE_BYTES = _counter("line_bytes", "bytes", "Bytes that crossed the line.", "urgency", "user", "direction")
LINE_RAISED = _counter(
    "line_raised",
    "transfers",
    "Transfers made more urgent on their way, since somebody came to wait for them.",
    "urgency",
)
LINE_RESUMED = _counter("line_resumed", "transfers", "Contents gone on with where a lost connection had left them.")
LINE_RATE = _gauge(
    "line_rate_bytes_per_second", "bytes/s", "What the line carries, as measured; 0: not yet.", "direction"
)
LINE_ROUND_TRIP = _gauge("line_round_trip_seconds", "s", "The line's round trip, as measured; 0: not yet.")
FORWARDED_INSTANCES = _counter(
    "forwarded_instances",
    "instances",
    "Instances taken in here that the upstream recorded, by what became of them, or that cannot be forwarded.",
    "result",
)
DICOM_FORWARDED = _counter(
    "dicom_forwarded_instances", "instances", "Instances sent to DICOM peers by rules, and refusals.", "result"
)
FORWARDED_BYTES = _counter("forwarded_bytes", "bytes", "Contents sent to the upstream for that.", "kind")
OUTBOX_INSTANCES = _gauge(
    "outbox_instances",
    "instances",
    "Instances taken in here that are not handed over yet, by how far they are, and their study's class.",
    "state",
    "urgency",
)
OUTBOX_OLDEST_SECONDS = _gauge(
    "outbox_oldest_seconds", "s", "How long the oldest instance of a class has waited that is not upstream.", "urgency"
)

STORE_CONTENTS = _gauge("store_contents", "contents", "Different contents held: frames, bulk values, headers.")
STORE_LIVE_BYTES = _gauge("store_live_bytes", "bytes", "Bytes of packs that are needed.")
STORE_DEAD_BYTES = _gauge("store_dead_bytes", "bytes", "Bytes of packs that compaction will give back.")
STORE_DAMAGED = _gauge("store_damaged", "contents", "Contents found damaged since the start, and kept out of use.")
STORE_SYNC_FAILURES = _gauge(
    "store_sync_failures", "groups", "Groups of contents that could not be made durable since the start."
)
S3_REQUESTS = _counter("s3_requests", "requests", "Requests to the object store, retries left out.", "operation")


# -- counting --------------------------------------------------------------------------------


class Metrics:
    """The counters of one node. May be used from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._collectors = {metric: _collector(metric, self.registry) for metric in METRICS}
        self._before_reading: list[tuple[Callable[[], None], tuple[Metric, ...]]] = []
        self._looks: list[Callable[[], Awaitable[None]]] = []
        ProcessCollector(registry=self.registry)

    def before_reading(self, hand_over: Callable[[], None], *gauges: Metric) -> None:
        """Call `hand_over` before the metrics are read: for what is counted elsewhere meanwhile.

        Parameters
        ----------
        gauges
            All that it sets, if it does no more: then it is not called where others are read.
        """
        self._before_reading.append((hand_over, gauges))

    def before_exposition(self, look: Callable[[], Awaitable[None]]) -> None:
        """Await `look` before all metrics are shown: for what has to be looked up."""
        self._looks.append(look)

    def counter(self, metric: Metric, **labels: str) -> Counter:
        """Return one counter with its labels filled in, to keep where counting is frequent."""
        found = self._of(metric, labels)
        assert isinstance(found, Counter)  # noqa: S101
        return found

    def gauge(self, metric: Metric, **labels: str) -> Gauge:
        """Return one gauge, as `counter` does."""
        found = self._of(metric, labels)
        assert isinstance(found, Gauge)  # noqa: S101
        return found

    def histogram(self, metric: Metric, **labels: str) -> Histogram:
        """Return one histogram, as `counter` does."""
        found = self._of(metric, labels)
        assert isinstance(found, Histogram)  # noqa: S101
        return found

    def add(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Count on a counter, or move a gauge."""
        found = self._of(metric, labels)
        assert isinstance(found, Counter | Gauge)  # noqa: S101
        found.inc(amount)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""
        self.gauge(metric, **labels).set(value)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Add one observation to a histogram."""
        self.histogram(metric, **labels).observe(value)

    def observe_many(self, metric: Metric, buckets: Sequence[int], total: float, **labels: str) -> None:
        """Add observations counted elsewhere to a histogram.

        Parameters
        ----------
        buckets
            How many fell into each bucket of the metric, and beyond the last.
        total
            Their sum.
        """
        histogram = self.histogram(metric, **labels)
        # The library has no call for this; it keeps its buckets apart, not cumulated.
        for bucket, count in zip(histogram._buckets, buckets, strict=True):
            bucket.inc(count)
        histogram._sum.inc(total)

    def value(self, metric: Metric, **labels: str) -> float:
        """Return a counter's or gauge's value, or how many observations a histogram has: for tests and reports.

        Labels that are not given are summed over.
        """
        self._collect(metric)
        name = metric.full_name + ("_count" if metric.kind is MetricKind.HISTOGRAM else "")
        return sum(
            sample.value
            for family in self._collectors[metric].collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def exposition(self) -> bytes:
        """Return the body of ``/metrics``, of media type `CONTENT_TYPE`."""
        self._collect(None)
        return generate_latest(self.registry)

    async def shown(self) -> bytes:
        """Return the same, with what has to be looked up."""
        for look in self._looks:
            await look()
        return self.exposition()

    def _collect(self, metric: Metric | None) -> None:
        for hand_over, gauges in self._before_reading:
            if metric is None or not gauges or metric in gauges:
                hand_over()

    def _of(self, metric: Metric, labels: dict[str, str]) -> Counter | Gauge | Histogram:
        found = self._collectors[metric]
        return found.labels(**labels) if labels else found


def _collector(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind is MetricKind.COUNTER:
        return Counter(metric.full_name, metric.prose, metric.labels, registry=registry)
    if metric.kind is MetricKind.GAUGE:
        return Gauge(metric.full_name, metric.prose, metric.labels, registry=registry)
    return Histogram(metric.full_name, metric.prose, metric.labels, buckets=metric.buckets, registry=registry)
