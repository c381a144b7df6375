//! The table of the broker's own keys.
//!
//! Kafka's names where Kafka has one. Keys that are defaults of topic configs (`log.segment.bytes`) come from the table of
//! [`super::topic`], so that both say the same. What never lives here: values ([`super::BrokerConfig`]).

use super::endpoint::{parse_endpoints, split_host_port};
use super::topic::{ConfigType, TOPIC_CONFIG_KEYS, TopicConfigKey, Validator};
use super::{Check, KeySpec, UpdateMode, ValueType};
use std::sync::LazyLock;

const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
const INT_MAX: i64 = i32::MAX as i64;

macro_rules! keys {
    ($($name:literal $type:ident $default:expr, $check:expr, $unit:literal, $update:ident, $doc:literal;)*) => {
        &[$(KeySpec {
            name: $name,
            value_type: ValueType::$type,
            default: $default,
            check: $check,
            unit: $unit,
            doc: $doc,
            update: UpdateMode::$update,
            sensitive: false,
        }),*]
    };
}

/// Keys that are no default of a topic config. Defaults of topic configs join them in [`broker_keys`].
const OWN_KEYS: &[KeySpec] = keys! {
    "node.id" Int Some("0"), Check::Range(0, INT_MAX), "", ReadOnly,
        "This broker's number in the cluster. 0, because one broker is the usual start.";
    "broker.id" Int None, Check::Range(0, INT_MAX), "", ReadOnly,
        "Kafka's older name of node.id; must agree with it when both are set.";
    "data.dir" String Some("./data"), Check::Custom(not_empty, "a path"), "", ReadOnly,
        "Directory of everything that survives a restart; created if absent. One broker at a time may use it.";
    "listeners" List Some("PLAINTEXT://127.0.0.1:9092"), Check::Custom(is_listeners, ENDPOINTS), "", ReadOnly,
        "Where Kafka clients connect. The default is this machine only, because there is no authentication yet; port 0 takes a free port.";
    "advertised.listeners" List None, Check::Custom(is_advertised, ENDPOINTS), "", ReadOnly,
        "What clients are told to connect to, for listeners behind NAT or in containers. Unset: the listener itself, and for 0.0.0.0 the address that the client reached.";
    "http.listener" String Some("127.0.0.1:9464"), Check::Custom(is_http_listener, "host:port, or empty for none"), "", ReadOnly,
        "Where /metrics, /livez and /readyz are served. This machine only by default, because metrics name topics.";

    "num.partitions" Int Some("1"), Check::Range(1, 100_000), "partitions", ReadOnly,
        "Partitions of a topic that is created without a number. Kafka's default; partitions can be added, never removed.";
    "default.replication.factor" Int Some("1"), Check::Range(1, 32_767), "replicas", ReadOnly,
        "Replication factor recorded for a topic that is created without one. One copy is kept whatever it says: durability comes from fsync.";
    "auto.create.topics.enable" Boolean Some("true"), Check::Any, "", ReadOnly,
        "Whether a client that asks about an unknown topic creates it. Kafka's default, on which simple clients rely.";
    "delete.topic.enable" Boolean Some("true"), Check::Any, "", ReadOnly,
        "Whether topics can be deleted. Kafka's default.";
    "max.partitions" Int Some("200000"), Check::Range(1, 10_000_000), "partitions", ReadOnly,
        "Partitions of all topics together; creations beyond it are refused. Bounds memory: a quiet partition costs up to 16 KiB.";
    "max.request.partition.size.limit" Int Some("2000"), Check::Range(1, 100_000), "partitions", ReadOnly,
        "Partitions in one answer to DescribeTopicPartitions. Kafka's default.";

    "durability" String Some("fsync"), Check::OneOf(&["fsync", "page-cache"]), "", ReadOnly,
        "What acks=all and the high watermark wait for: fsync survives power loss, page-cache (Kafka's promise) survives kill -9. fsync, because group commit makes it cheap.";
    "record.validation" String Some("header"), Check::OneOf(&["header", "full"]), "", ReadOnly,
        "How compressed batches are checked: header checks CRC and counts, full also decompresses and walks every record. header, because full costs more CPU than all else.";
    "record.batch.decompressed.max.bytes" Long Some("134217728"), Check::Range(MIB, 2 * GIB), "bytes", ReadOnly,
        "Size of a batch after decompression, where records must be read; larger ones are refused. Guards against decompression bombs.";
    "log.retention.check.interval.ms" Long Some("300000"), Check::Range(100, INT_MAX), "milliseconds", ReadOnly,
        "How often old segments are looked for. Kafka's default.";
    "producer.id.expiration.ms" Int Some("86400000"), Check::Range(1, INT_MAX), "milliseconds", ReadOnly,
        "An idempotent producer of which nothing was heard for so long is forgotten. Kafka's default: a day.";
    "journal.file.bytes" Long Some("16777216"), Check::Custom(is_journal_bytes, "a multiple of 4096 from 1048576 to 1073741824"), "bytes", ReadOnly,
        "Size of one journal file. Small appends of all partitions pass through the journal; a file is reused when its data is in segments.";
    "journal.files" Int Some("8"), Check::Range(4, 1024), "files", ReadOnly,
        "Journal files at least; the ring grows with the number of partitions. 8 x 16 MiB keeps restarts short and the files in the page cache.";
    "tail.memory.bytes" Long Some("268435456"), Check::Range(16 * MIB, 1024 * GIB), "bytes", ReadOnly,
        "Memory for the newest records of all partitions, taken as it is needed. Appends wait when it is used up; consumers near the end read from it.";
    "flush.interval.ms" Int Some("100"), Check::Range(1, 60_000), "milliseconds", ReadOnly,
        "Records of acks=0 and acks=1 become durable, and so visible, after so long without anybody waiting for them.";
    "io.threads" Int Some("4"), Check::Range(1, 256), "threads", ReadOnly,
        "Threads that write segments. A few are enough: writes are large.";
    "index.memory.bytes" Long Some("16777216"), Check::Range(MIB, 64 * GIB), "bytes", ReadOnly,
        "Memory of the index (RocksDB): block cache and memtables together.";
    "log.open.files.max" Int Some("1024"), Check::Range(16, INT_MAX), "files", ReadOnly,
        "Segment files kept open; the least used are closed first.";

    "group.initial.rebalance.delay.ms" Int Some("3000"), Check::Range(0, INT_MAX), "milliseconds", ReadOnly,
        "An empty classic group waits so long for more members before its first rebalance. Kafka's default: one rebalance instead of one for each member that starts.";
    "group.min.session.timeout.ms" Int Some("6000"), Check::Range(0, INT_MAX), "milliseconds", ReadOnly,
        "Shortest session timeout that a member of a classic group may ask for. Kafka's default.";
    "group.max.session.timeout.ms" Int Some("1800000"), Check::Range(0, INT_MAX), "milliseconds", ReadOnly,
        "Longest session timeout that a member of a classic group may ask for. Kafka's default: half an hour.";
    "group.max.size" Int Some("2147483647"), Check::Range(1, INT_MAX), "members", ReadOnly,
        "Members of one classic group at most; more are refused. Kafka's default: no limit of its own.";
    "group.coordinator.max.groups" Int Some("1000000"), Check::Range(1, INT_MAX), "groups", ReadOnly,
        "Groups of all kinds at most; a request that would make one more is refused. Bounds memory, since anybody may name a group.";
    "group.consumer.session.timeout.ms" Int Some("45000"), Check::Range(1, INT_MAX), "milliseconds", ReadOnly,
        "A member of a consumer group that is silent for so long is removed. Kafka's default; a group may have its own.";
    "group.consumer.min.session.timeout.ms" Int Some("45000"), Check::Range(1, INT_MAX), "milliseconds", ReadOnly,
        "Shortest session timeout that may be set for a consumer group. Kafka's default.";
    "group.consumer.max.session.timeout.ms" Int Some("60000"), Check::Range(1, INT_MAX), "milliseconds", ReadOnly,
        "Longest session timeout that may be set for a consumer group. Kafka's default.";
    "group.consumer.heartbeat.interval.ms" Int Some("5000"), Check::Range(1, INT_MAX), "milliseconds", ReadOnly,
        "Members of consumer groups are told to send a heartbeat so often. Kafka's default; a group may have its own.";
    "group.consumer.min.heartbeat.interval.ms" Int Some("5000"), Check::Range(1, INT_MAX), "milliseconds", ReadOnly,
        "Shortest heartbeat interval that may be set for a consumer group. Kafka's default.";
    "group.consumer.max.heartbeat.interval.ms" Int Some("15000"), Check::Range(1, INT_MAX), "milliseconds", ReadOnly,
        "Longest heartbeat interval that may be set for a consumer group. Kafka's default.";
    "group.consumer.max.size" Int Some("2147483647"), Check::Range(1, INT_MAX), "members", ReadOnly,
        "Members of one consumer group at most; more are refused. Kafka's default: no limit of its own.";
    "group.consumer.assignors" List Some("uniform,range"), Check::ListOf(&["uniform", "range"]), "", ReadOnly,
        "Assignors that members of consumer groups may ask for; the first serves those that ask for none. Kafka's default.";
    "group.consumer.migration.policy" String Some("bidirectional"), Check::OneOf(&["bidirectional", "upgrade", "downgrade", "disabled"]), "", ReadOnly,
        "Whether groups may change between the classic and the consumer protocol while members are in them, and in which direction. Kafka's default: both.";
    "group.consumer.regex.refresh.interval.ms" Int Some("600000"), Check::Range(10_000, INT_MAX), "milliseconds", ReadOnly,
        "Regular expressions of consumer groups are looked up again so often, besides when topics change. Kafka's default.";
    "offset.metadata.max.bytes" Int Some("4096"), Check::Range(0, INT_MAX), "bytes", ReadOnly,
        "Longest text that a client may store beside an offset. Kafka's default.";
    "offsets.commit.timeout.ms" Int Some("5000"), Check::Range(1, INT_MAX), "milliseconds", ReadOnly,
        "A request that changes a group waits so long for the disk, then the client is told to ask again. Kafka's default.";
    "offsets.retention.minutes" Int Some("10080"), Check::Range(1, 35_791_394), "minutes", ReadOnly,
        "Offsets of a group are forgotten so long after it lost its last member. Kafka's default: seven days.";
    "offsets.retention.check.interval.ms" Long Some("600000"), Check::Range(1, INT_MAX), "milliseconds", ReadOnly,
        "How often offsets past their retention are looked for. Kafka's default.";
    "offsets.topic.num.partitions" Int Some("50"), Check::Range(1, 10_000), "partitions", ReadOnly,
        "Partitions of __consumer_offsets when it is made, at the first use of a group. Kafka's default; it cannot change later, since a group's partition follows from the number.";
    "offsets.topic.replication.factor" Short Some("1"), Check::Range(1, 32_767), "replicas", ReadOnly,
        "Replication factor recorded for __consumer_offsets. One copy is kept whatever it says: durability comes from fsync.";
    "offsets.topic.segment.bytes" Int Some("104857600"), Check::Range(MIB, INT_MAX), "bytes", ReadOnly,
        "Segment size of __consumer_offsets when it is made. Kafka's default: small, because what is rewritten is let go of by the segment.";
    "offsets.topic.checkpoint.min.records" Int Some("100000"), Check::Range(1, INT_MAX), "records", ReadOnly,
        "A partition of __consumer_offsets is rewritten when so many records, and twice what is live, were added since the last time. 100,000 are read back in a fifth of a second.";

    "fetch.max.bytes" Int Some("57671680"), Check::Range(KIB, INT_MAX), "bytes", ReadOnly,
        "Records in one fetch response at most, whatever the client asks for. Kafka's default: 55 MiB.";
    "max.incremental.fetch.session.cache.slots" Int Some("1000"), Check::Range(0, INT_MAX), "sessions", ReadOnly,
        "Incremental fetch sessions kept; consumers without one send their whole list each time. Kafka's default.";

    "socket.request.max.bytes" Int Some("104857600"), Check::Range(KIB, INT_MAX), "bytes", ReadOnly,
        "Largest request; a longer one closes its connection before memory is taken for it. Kafka's default: 100 MiB.";
    "queued.max.request.bytes" Long Some("268435456"), Check::Range(MIB, 1024 * GIB), "bytes", ReadOnly,
        "Memory for requests of all connections while they are read. When it is used up, reading waits; one request at a time may go beyond it, so that reading never stands still.";
    "connection.inflight.max.requests" Int Some("64"), Check::Range(1, 100_000), "requests", ReadOnly,
        "Requests of one connection that wait for their reply; the next is read when one is answered. Clients keep 5 in flight.";
    "connection.inflight.max.bytes" Long Some("67108864"), Check::Range(KIB, 64 * GIB), "bytes", ReadOnly,
        "Bytes of requests of one connection that wait for their reply, beyond which the next is not read. Their records lie in tail memory.";
    "max.connections" Int Some("10000"), Check::Range(1, INT_MAX), "connections", Dynamic,
        "Open connections at most; more are closed as they are accepted. Each costs a descriptor and a few KiB when idle.";
    "max.connections.per.ip" Int Some("2147483647"), Check::Range(1, INT_MAX), "connections", Dynamic,
        "Open connections from one address at most. Kafka's default: no limit of its own.";
    "connections.max.idle.ms" Long Some("600000"), Check::Range(100, INT_MAX), "milliseconds", ReadOnly,
        "A connection on which nothing was asked for so long is closed; a fetch that waits for data is not idle. Kafka's default.";
    "request.read.timeout.ms" Long Some("30000"), Check::Range(10, INT_MAX), "milliseconds", ReadOnly,
        "A request must have arrived so long after its first byte, plus a second for each 32 KiB of it; else its connection is closed. Stops clients that send byte by byte.";
    "reply.write.timeout.ms" Long Some("300000"), Check::Range(10, INT_MAX), "milliseconds", ReadOnly,
        "A client that takes no byte of its reply for so long is disconnected. 5 minutes, because consumers read nothing while they process (max.poll.interval.ms).";
    "socket.listen.backlog.size" Int Some("1024"), Check::Range(1, 65_535), "connections", ReadOnly,
        "Connections that the kernel completes before they are accepted. Kafka has 50, too few for a restart under many clients.";
    "socket.send.buffer.bytes" Int Some("102400"), Check::Custom(is_socket_buffer, SOCKET_BUFFER), "bytes", ReadOnly,
        "SO_SNDBUF of connections; -1 leaves it to the kernel, which adapts it to the connection. Kafka's default: what is being sent stays in the processor's caches, at half the CPU a GiB of a buffer of megabytes. Raise it for consumers that are far away.";
    "socket.receive.buffer.bytes" Int Some("-1"), Check::Custom(is_socket_buffer, SOCKET_BUFFER), "bytes", ReadOnly,
        "SO_RCVBUF of connections; -1 leaves it to the kernel, which adapts it to the connection.";
    "shutdown.timeout.ms" Int Some("10000"), Check::Range(0, 3_600_000), "milliseconds", ReadOnly,
        "Requests in flight get so long to finish when the broker stops. A second signal stops it at once.";
    "worker.threads" Int Some("0"), Check::Range(0, 1024), "threads", ReadOnly,
        "Threads that serve connections; 0 is one a core.";
    "blocking.threads.max" Int Some("64"), Check::Range(4, 4096), "threads", ReadOnly,
        "Threads for reads that wait for the disk; made when needed, gone after a few idle seconds.";

    "log.format" String Some("text"), Check::OneOf(&["text", "json"]), "", ReadOnly,
        "Form of the log lines on stderr: text for people, json for collectors.";
    "log.level" String Some("info"), Check::Custom(is_log_filter, "error, warn, info, debug, trace, or a filter such as info,streamhouse::server=debug"), "", ReadOnly,
        "Which log lines are written.";
    "metrics.topics.max" Int Some("200"), Check::Range(0, 100_000), "topics", ReadOnly,
        "Topics with metrics of their own; the others are counted together as topic=\"_other\". Bounds the size of /metrics.";

    "leader.replication.throttled.rate" Long Some("9223372036854775807"), Check::Range(0, i64::MAX), "bytes a second", Dynamic,
        "Accepted and described, because tools set and delete it; nothing is replicated between brokers here.";
    "follower.replication.throttled.rate" Long Some("9223372036854775807"), Check::Range(0, i64::MAX), "bytes a second", Dynamic,
        "Accepted and described, because tools set and delete it; nothing is replicated between brokers here.";
    "replica.alter.log.dirs.io.max.bytes.per.second" Long Some("9223372036854775807"), Check::Range(0, i64::MAX), "bytes a second", Dynamic,
        "Accepted and described, because tools set and delete it; there is one data directory here.";
};

const ENDPOINTS: &str = "a list of NAME://host:port with distinct names, for example PLAINTEXT://127.0.0.1:9092";
const SOCKET_BUFFER: &str = "-1, or a whole number from 4096 to 1073741824";

fn not_empty(value: &str) -> bool {
    !value.is_empty()
}

fn is_listeners(value: &str) -> bool {
    parse_endpoints(value).is_some_and(|endpoints| !endpoints.is_empty())
}

fn is_advertised(value: &str) -> bool {
    parse_endpoints(value).is_some_and(|endpoints| endpoints.iter().all(|e| !e.host.is_empty() && e.port != 0))
}

fn is_http_listener(value: &str) -> bool {
    value.is_empty() || split_host_port(value).is_some()
}

fn is_journal_bytes(value: &str) -> bool {
    value
        .parse::<i64>()
        .is_ok_and(|bytes| (MIB..=GIB).contains(&bytes) && bytes % 4096 == 0)
}

fn is_socket_buffer(value: &str) -> bool {
    value
        .parse::<i64>()
        .is_ok_and(|bytes| bytes == -1 || (4096..=GIB).contains(&bytes))
}

fn is_log_filter(value: &str) -> bool {
    !value.is_empty() && value.parse::<tracing_subscriber::filter::Targets>().is_ok()
}

/// All keys of a broker, sorted by name.
pub fn broker_keys() -> &'static [KeySpec] {
    static KEYS: LazyLock<Vec<KeySpec>> = LazyLock::new(|| {
        let mut keys = OWN_KEYS.to_vec();
        keys.extend(TOPIC_CONFIG_KEYS.iter().flat_map(topic_defaults));
        keys.sort_by_key(|key| key.name);
        keys
    });
    &KEYS
}

/// One key by its exact name.
pub fn broker_key(name: &str) -> Option<&'static KeySpec> {
    let keys = broker_keys();
    keys.binary_search_by(|key| key.name.cmp(name))
        .ok()
        .and_then(|at| keys.get(at))
}

/// The broker keys that are the default of a topic config: `log.retention.{ms,minutes,hours}` for `retention.ms`.
fn topic_defaults(key: &'static TopicConfigKey) -> impl Iterator<Item = KeySpec> {
    let weakest = key.synonyms.len().saturating_sub(1);
    key.synonyms.iter().enumerate().map(move |(at, synonym)| {
        let scaled = synonym.factor > 1;
        KeySpec {
            name: synonym.key,
            value_type: if scaled {
                ValueType::Int
            } else {
                value_type(key.config_type)
            },
            default: if at == weakest {
                default_in_unit(key.default, synonym.factor)
            } else {
                None
            },
            check: check(key, scaled),
            unit: unit(synonym.key),
            doc: key.documentation,
            update: UpdateMode::Dynamic,
            sensitive: false,
        }
    })
}

fn default_in_unit(default: &'static str, factor: i64) -> Option<&'static str> {
    match default.parse::<i64>() {
        // Made once for each of a handful of keys, and kept as long as the process: leaking is right.
        Ok(number) if factor > 1 => Some(Box::leak((number / factor).to_string().into_boxed_str())),
        _ => Some(default),
    }
}

fn value_type(config_type: ConfigType) -> ValueType {
    match config_type {
        ConfigType::Boolean => ValueType::Boolean,
        ConfigType::Int => ValueType::Int,
        ConfigType::Short => ValueType::Short,
        ConfigType::Long => ValueType::Long,
        ConfigType::Double => ValueType::Double,
        ConfigType::List => ValueType::List,
        ConfigType::String | ConfigType::Class | ConfigType::Password => ValueType::String,
    }
}

fn check(key: &TopicConfigKey, scaled: bool) -> Check {
    let max = match key.config_type {
        ConfigType::Long if !scaled => i64::MAX,
        ConfigType::Short => i64::from(i16::MAX),
        _ => INT_MAX,
    };
    match key.validator {
        Validator::AtLeast(min) => Check::Range(min, max),
        Validator::Between(min, max) => Check::Range(min, max),
        Validator::MinusOneOrBetween(_, max) => Check::Range(-1, max),
        Validator::Ratio => Check::DoubleRange(0.0, 1.0),
        Validator::OneOf(words) => Check::OneOf(words),
        Validator::ListOf(words) => Check::ListOf(words),
        Validator::Any | Validator::ThrottledReplicas => Check::Any,
    }
}

fn unit(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("bytes") => "bytes",
        Some("ms") => "milliseconds",
        Some("minutes") => "minutes",
        Some("hours") => "hours",
        Some("messages") => "records",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_its_defaults_pass_its_own_checks() {
        let keys = broker_keys();
        for pair in keys.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} {}", pair[0].name, pair[1].name);
        }
        for key in keys {
            assert!(key.doc.ends_with('.'), "{}", key.name);
            assert!(
                key.default
                    .is_none_or(|default| key.normalize(default).as_deref() == Some(default)),
                "{}",
                key.name
            );
            assert!(std::ptr::eq(broker_key(key.name).expect("found"), key));
        }
    }

    #[test]
    fn the_keys_that_tools_look_for_exist() {
        // contract 66
        for name in [
            "default.replication.factor",
            "num.partitions",
            "auto.create.topics.enable",
            "delete.topic.enable",
            "log.retention.ms",
            "log.retention.minutes",
            "log.retention.hours",
            "log.retention.bytes",
            "log.segment.bytes",
            "log.roll.ms",
            "log.roll.hours",
            "log.cleanup.policy",
            "message.max.bytes",
            "min.insync.replicas",
            "compression.type",
            "leader.replication.throttled.rate",
            "follower.replication.throttled.rate",
            "replica.alter.log.dirs.io.max.bytes.per.second",
        ] {
            assert!(broker_key(name).is_some(), "{name}");
        }
        let hours = broker_key("log.retention.hours").expect("exists");
        assert_eq!(
            (hours.default, hours.unit, hours.value_type),
            (Some("168"), "hours", ValueType::Int)
        );
        assert_eq!(broker_key("log.retention.ms").expect("exists").default, None);
    }
}
