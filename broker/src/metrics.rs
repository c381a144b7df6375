//! What the broker counts, and the page that Prometheus reads.
//!
//! Handles are made once and kept: counting a request looks nothing up. Series are bounded: by API, by error code, and by
//! topic up to `metrics.topics.max`; there is none for a partition. Storage counts through the same recorder.

use metrics::{Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use parking_lot::RwLock;
use protocol::ErrorCode;
use protocol::group_records::GroupRecord;
use std::collections::HashMap;
use std::sync::Arc;

/// Bounds of the histograms of durations, seconds: from the cost of a small request to a timeout.
const SECONDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];

/// The name under which topics beyond `metrics.topics.max` are counted together.
const OTHER_TOPICS: &str = "_other";

/// Counters of one API.
pub struct ApiMetrics {
    /// Requests whose first stage began.
    pub requests: Counter,
    /// Seconds from the last byte of a request to the last byte of its reply.
    pub seconds: Histogram,
}

/// Counters of one topic. Kept by whoever keeps the topic.
pub struct TopicMetrics {
    /// Bytes of batches appended.
    pub bytes_in: Counter,
    /// Records appended.
    pub records_in: Counter,
    /// Bytes of batches sent to consumers.
    pub bytes_out: Counter,
}

/// Counters of the group coordinator.
pub struct GroupMetrics {
    /// Offsets committed.
    pub commits: Counter,
    /// Rebalances that ended: classic generations with an assignment, target assignments of consumer groups.
    pub rebalances: Counter,
    /// Records of groups appended, of whatever kind.
    pub records: Counter,
    /// Checkpoints of partitions of `__consumer_offsets`.
    pub checkpoints: Counter,
    /// Bytes of checkpoints.
    pub checkpoint_bytes: Counter,
    /// Records read back at starts.
    pub loaded_records: Counter,
    /// Records that could not be read at starts.
    pub corrupt_records: Counter,
    /// Seconds that reading everything back took.
    pub load_seconds: Histogram,
}

impl GroupMetrics {
    /// Counts records that were appended because of events.
    pub fn appended(&self, records: &[GroupRecord]) {
        self.records.increment(records.len() as u64);
        let (mut commits, mut rebalances) = (0, 0);
        for record in records {
            match record {
                GroupRecord::OffsetCommit { value: Some(_), .. } => commits += 1,
                GroupRecord::GroupMetadata { value: Some(group), .. } if !group.members.is_empty() => rebalances += 1,
                GroupRecord::ConsumerGroupTargetAssignmentMetadata { value: Some(_), .. } => rebalances += 1,
                _ => {}
            }
        }
        self.commits.increment(commits);
        self.rebalances.increment(rebalances);
    }
}

/// All counters of a broker.
pub struct Metrics {
    recorder: Recorder,
    /// Bytes received on Kafka connections.
    pub bytes_in: Counter,
    /// Bytes sent on Kafka connections.
    pub bytes_out: Counter,
    /// Connections accepted.
    pub connections_accepted: Counter,
    /// Handlers that panicked.
    pub panics: Counter,
    /// Made when an API is first asked for, by key.
    apis: RwLock<HashMap<i16, Arc<ApiMetrics>>>,
    errors: RwLock<HashMap<(i16, i16), Counter>>,
    topics: RwLock<HashMap<String, Arc<TopicMetrics>>>,
    topics_max: usize,
}

impl Metrics {
    /// Counters of a broker, with series of their own for so many topics.
    pub fn new(recorder: Recorder, topics_max: usize) -> Arc<Metrics> {
        recorder.with(describe);
        let make = |name: &'static str| recorder.with(|| counter!(name));
        Arc::new(Metrics {
            bytes_in: make("streamhouse_bytes_in_total"),
            bytes_out: make("streamhouse_bytes_out_total"),
            connections_accepted: make("streamhouse_connections_accepted_total"),
            panics: make("streamhouse_handler_panics_total"),
            apis: RwLock::default(),
            errors: RwLock::default(),
            topics: RwLock::default(),
            topics_max,
            recorder,
        })
    }

    /// The counters of an API that is offered.
    pub fn api(&self, api_key: i16) -> Arc<ApiMetrics> {
        if let Some(found) = self.apis.read().get(&api_key) {
            return found.clone();
        }
        let make = || {
            let api = api_name(api_key);
            Arc::new(ApiMetrics {
                requests: counter!("streamhouse_requests_total", "api" => api),
                seconds: histogram!("streamhouse_request_seconds", "api" => api),
            })
        };
        self.apis
            .write()
            .entry(api_key)
            .or_insert_with(|| self.recorder.with(make))
            .clone()
    }

    /// Counts an error code in a reply of an API; 0 is none.
    pub fn count_error(&self, api_key: i16, code: i16) {
        if code == 0 {
            return;
        }
        if let Some(found) = self.errors.read().get(&(api_key, code)) {
            found.increment(1);
            return;
        }
        let make =
            || counter!("streamhouse_request_errors_total", "api" => api_name(api_key), "error" => error_name(code));
        self.errors
            .write()
            .entry((api_key, code))
            .or_insert_with(|| self.recorder.with(make))
            .increment(1);
    }

    /// The counters of a topic; beyond `metrics.topics.max`, those that all further topics share.
    pub fn topic(&self, name: &str) -> Arc<TopicMetrics> {
        {
            let topics = self.topics.read();
            let shared = || topics.get(OTHER_TOPICS).filter(|_| topics.len() > self.topics_max);
            if let Some(found) = topics.get(name).or_else(shared) {
                return found.clone();
            }
        }
        let mut topics = self.topics.write();
        let name = if topics.len() < self.topics_max {
            name
        } else {
            OTHER_TOPICS
        };
        let make = |name: String| {
            Arc::new(TopicMetrics {
                bytes_in: counter!("streamhouse_topic_bytes_in_total", "topic" => name.clone()),
                records_in: counter!("streamhouse_topic_records_in_total", "topic" => name.clone()),
                bytes_out: counter!("streamhouse_topic_bytes_out_total", "topic" => name),
            })
        };
        let made = topics
            .entry(name.to_owned())
            .or_insert_with(|| self.recorder.with(|| make(name.to_owned())));
        made.clone()
    }

    /// The counters of the group coordinator.
    pub fn groups(&self) -> GroupMetrics {
        self.recorder.with(|| GroupMetrics {
            commits: counter!("streamhouse_group_offset_commits_total"),
            rebalances: counter!("streamhouse_group_rebalances_total"),
            records: counter!("streamhouse_group_records_total"),
            checkpoints: counter!("streamhouse_group_checkpoints_total"),
            checkpoint_bytes: counter!("streamhouse_group_checkpoint_bytes_total"),
            loaded_records: counter!("streamhouse_group_loaded_records_total"),
            corrupt_records: counter!("streamhouse_group_corrupt_records_total"),
            load_seconds: histogram!("streamhouse_group_load_seconds"),
        })
    }

    /// Sets how many groups there are of a type and a state; both come from short lists.
    pub fn set_groups(&self, group_type: &'static str, state: &str, groups: usize) {
        self.recorder
            .with(|| gauge!("streamhouse_groups", "type" => group_type, "state" => state.to_owned()))
            .set(groups as f64);
    }

    /// Counts a connection that was refused for a limit.
    pub fn count_refused(&self, limit: &'static str) {
        self.recorder
            .with(|| counter!("streamhouse_connections_refused_total", "limit" => limit))
            .increment(1);
    }

    /// Counts a connection that ended.
    pub fn count_closed(&self, reason: &'static str) {
        self.recorder
            .with(|| counter!("streamhouse_connections_closed_total", "reason" => reason))
            .increment(1);
    }

    /// Moves what histograms have gathered into their buckets; to be called every few seconds, or memory grows.
    pub fn upkeep(&self) {
        self.recorder.handle.run_upkeep();
    }

    /// The page for Prometheus, with the values that are only known by asking.
    pub fn render(&self, gauges: &[(&'static str, f64)]) -> String {
        self.recorder.with(|| {
            for (name, value) in gauges {
                gauge!(*name).set(*value);
            }
        });
        self.recorder.handle.render()
    }
}

/// Bytes of memory that the process has in RAM.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn api_name(api_key: i16) -> &'static str {
    protocol::api::find(api_key).map_or("unknown", |api| api.name)
}

/// Kafka's name of an error code: `NOT_LEADER_OR_FOLLOWER`.
fn error_name(code: i16) -> String {
    let Some(code) = ErrorCode::from_code(code) else {
        return code.to_string();
    };
    let mut name = String::new();
    for (i, letter) in format!("{code:?}").chars().enumerate() {
        if letter.is_ascii_uppercase() && i > 0 {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

fn describe() {
    describe_counter!("streamhouse_requests_total", "Requests by API.");
    describe_histogram!(
        "streamhouse_request_seconds",
        "Seconds from the last byte of a request to the last byte of its reply."
    );
    describe_counter!("streamhouse_request_errors_total", "Error codes in replies, by API.");
    describe_counter!("streamhouse_bytes_in_total", "Bytes received on Kafka connections.");
    describe_counter!("streamhouse_bytes_out_total", "Bytes sent on Kafka connections.");
    describe_counter!(
        "streamhouse_topic_bytes_in_total",
        "Bytes of record batches appended, by topic."
    );
    describe_counter!("streamhouse_topic_records_in_total", "Records appended, by topic.");
    describe_counter!(
        "streamhouse_topic_bytes_out_total",
        "Bytes of record batches sent to consumers, by topic."
    );
    describe_counter!("streamhouse_connections_accepted_total", "Kafka connections accepted.");
    describe_counter!(
        "streamhouse_connections_refused_total",
        "Kafka connections closed at once, by the limit they met."
    );
    describe_counter!(
        "streamhouse_connections_closed_total",
        "Kafka connections that ended, by reason."
    );
    describe_counter!(
        "streamhouse_handler_panics_total",
        "Handlers that panicked: mistakes of the broker."
    );
    describe_groups();
    describe_gauge!("streamhouse_connections_open", "Kafka connections that are open.");
    describe_gauge!(
        "streamhouse_request_memory_bytes",
        "Memory held for requests that are being read."
    );
    describe_gauge!(
        "streamhouse_tail_memory_bytes",
        "Memory of the newest records of all partitions."
    );
    describe_gauge!("streamhouse_topics", "Topics.");
    describe_gauge!("streamhouse_partitions", "Partitions of all topics.");
    describe_gauge!("streamhouse_fetch_sessions", "Incremental fetch sessions.");
    describe_gauge!(
        "streamhouse_storage_healthy",
        "1 while appends are taken, 0 while they are refused."
    );
    describe_gauge!("process_resident_memory_bytes", "Memory of the process in RAM.");
}

fn describe_groups() {
    describe_counter!("streamhouse_group_offset_commits_total", "Offsets committed.");
    describe_counter!(
        "streamhouse_group_rebalances_total",
        "Rebalances that ended with an assignment."
    );
    describe_counter!("streamhouse_group_records_total", "Records of groups appended.");
    describe_counter!(
        "streamhouse_group_checkpoints_total",
        "Partitions of __consumer_offsets rewritten."
    );
    describe_counter!(
        "streamhouse_group_checkpoint_bytes_total",
        "Bytes of rewritten partitions of __consumer_offsets."
    );
    describe_counter!(
        "streamhouse_group_loaded_records_total",
        "Records of groups read back at the start."
    );
    describe_counter!(
        "streamhouse_group_corrupt_records_total",
        "Records of groups that could not be read at the start."
    );
    describe_histogram!(
        "streamhouse_group_load_seconds",
        "Seconds until all groups were read back at the start."
    );
    describe_gauge!("streamhouse_groups", "Groups, by type and state.");
    describe_gauge!("streamhouse_group_members", "Members of all groups.");
    describe_gauge!("streamhouse_group_offsets", "Committed offsets.");
    describe_gauge!("streamhouse_group_timers", "Timers of groups that are set.");
    describe_gauge!(
        "streamhouse_group_partitions_loading",
        "Partitions of __consumer_offsets whose groups are still being read back."
    );
    describe_gauge!(
        "streamhouse_group_partitions_failed",
        "Partitions of __consumer_offsets whose groups could not be read: their requests are refused."
    );
}

/// The recorder in its two roles: it makes handles, and renders the page.
#[derive(Clone)]
pub struct Recorder {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Recorder {
    /// A recorder of its own; nothing is global.
    pub fn new() -> Recorder {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .expect("the bounds are not empty");
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        Recorder {
            recorder: Arc::new(recorder),
            handle,
        }
    }

    /// Makes it the one that the `metrics` macros of the whole process count with: storage's.
    pub fn install(&self) {
        if metrics::set_global_recorder(self.recorder.clone()).is_err() {
            tracing::warn!("another metrics recorder was installed before: metrics of the storage engine go there");
        }
    }

    fn with<T>(&self, make: impl FnOnce() -> T) -> T {
        metrics::with_local_recorder(&*self.recorder, make)
    }
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(topics_max: usize) -> Arc<Metrics> {
        Metrics::new(Recorder::new(), topics_max)
    }

    #[test]
    fn the_page_has_requests_errors_and_durations_by_api() {
        let metrics = metrics(10);
        metrics.api(0).requests.increment(3);
        metrics.api(0).seconds.record(0.003);
        metrics.count_error(1, 0);
        metrics.count_error(1, 6);
        metrics.count_error(1, 6);
        let page = metrics.render(&[("streamhouse_connections_open", 2.0)]);
        for line in [
            "streamhouse_requests_total{api=\"Produce\"} 3",
            "streamhouse_request_seconds_bucket{api=\"Produce\",le=\"0.0025\"} 0",
            "streamhouse_request_seconds_bucket{api=\"Produce\",le=\"0.005\"} 1",
            "streamhouse_request_errors_total{api=\"Fetch\",error=\"NOT_LEADER_OR_FOLLOWER\"} 2",
            "streamhouse_connections_open 2",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
        }
        assert!(!page.contains("error=\"NONE\""));
    }

    #[test]
    fn topics_beyond_the_limit_are_counted_together() {
        let metrics = metrics(2);
        for name in ["a", "b", "c", "d", "a"] {
            metrics.topic(name).records_in.increment(1);
        }
        let page = metrics.render(&[]);
        let series: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("streamhouse_topic_records_in"))
            .collect();
        assert_eq!(series.len(), 3, "{series:?}");
        assert!(
            series.contains(&"streamhouse_topic_records_in_total{topic=\"a\"} 2"),
            "{series:?}"
        );
        assert!(
            series.contains(&"streamhouse_topic_records_in_total{topic=\"_other\"} 2"),
            "{series:?}"
        );
    }

    #[test]
    fn the_process_knows_its_memory() {
        assert!(resident_bytes() > 1 << 20);
    }
}
