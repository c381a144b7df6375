//! The broker's own keys: the table, and the typed configuration made from it.
//!
//! Kafka's names where Kafka has one. Keys that are defaults of topic configs (`log.segment.bytes`) come from the table of
//! [`super::topic`], so that both say the same. What never lives here: reading files or the environment ([`super::Sources`]).

use super::topic::{BrokerDefaults, ConfigSource, ConfigType, TOPIC_CONFIG_KEYS, TopicConfigKey, Validator};
use super::{Check, ConfigError, KeySpec, Source, Sources, UpdateMode, ValueType};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;
use storage::{DurabilityMode, EngineConfig};

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
    "socket.send.buffer.bytes" Int Some("-1"), Check::Custom(is_socket_buffer, SOCKET_BUFFER), "bytes", ReadOnly,
        "SO_SNDBUF of connections; -1 leaves it to the kernel, which adapts it to the connection.";
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
    value.parse::<i64>().is_ok_and(|bytes| (MIB..=GIB).contains(&bytes) && bytes % 4096 == 0)
}

fn is_socket_buffer(value: &str) -> bool {
    value.parse::<i64>().is_ok_and(|bytes| bytes == -1 || (4096..=GIB).contains(&bytes))
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
    keys.binary_search_by(|key| key.name.cmp(name)).ok().and_then(|at| keys.get(at))
}

/// The broker keys that are the default of a topic config: `log.retention.{ms,minutes,hours}` for `retention.ms`.
fn topic_defaults(key: &'static TopicConfigKey) -> impl Iterator<Item = KeySpec> {
    let weakest = key.synonyms.len().saturating_sub(1);
    key.synonyms.iter().enumerate().map(move |(at, synonym)| {
        let scaled = synonym.factor > 1;
        KeySpec {
            name: synonym.key,
            value_type: if scaled { ValueType::Int } else { value_type(key.config_type) },
            default: if at == weakest { default_in_unit(key.default, synonym.factor) } else { None },
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

/// A listener: Kafka's name for it, and an address. An empty host is every address of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// E.g. `PLAINTEXT`.
    pub name: String,
    /// A host name or an IP address, without brackets.
    pub host: String,
    /// 0 takes a free port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, HostPort(&self.host, self.port))
    }
}

/// `host:port`, with brackets around an IPv6 address.
#[derive(Clone, Copy, Debug)]
pub struct HostPort<'a>(pub &'a str, pub u16);

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]:{}", self.0, self.1) } else { write!(f, "{}:{}", self.0, self.1) }
    }
}

/// Splits `host:port` or `[v6]:port`.
pub fn split_host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let blank = host.chars().any(|c| c.is_whitespace() || c == '/');
    if blank { None } else { Some((host.to_owned(), port.parse().ok()?)) }
}

/// Reads a list of `NAME://host:port`; a part without a name is `PLAINTEXT`. Names of protocols that do not exist here
/// (`SSL`, `SASL_…`) are refused rather than served in clear text.
fn parse_endpoints(text: &str) -> Option<Vec<Endpoint>> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, address) = part.split_once("://").unwrap_or(("PLAINTEXT", part));
        let name = name.to_ascii_uppercase();
        let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let served = name != "SSL" && !name.starts_with("SASL");
        if !word || !served || endpoints.iter().any(|other| other.name == name) {
            return None;
        }
        let (host, port) = split_host_port(address)?;
        endpoints.push(Endpoint { name, host, port });
    }
    Some(endpoints)
}

/// How compressed batches are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordValidation {
    /// CRC and header.
    Header,
    /// Every record, decompressed.
    Full,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The broker's configuration, typed. Field names are the keys' names; units are theirs too.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is documented by its key in the table")]
pub struct BrokerConfig {
    pub node_id: i32,
    pub data_dir: PathBuf,
    pub listeners: Vec<Endpoint>,
    pub advertised_listeners: Vec<Endpoint>,
    pub http_listener: Option<(String, u16)>,
    pub num_partitions: i32,
    pub default_replication_factor: i16,
    pub auto_create_topics_enable: bool,
    pub delete_topic_enable: bool,
    pub max_partitions: usize,
    pub max_request_partition_size_limit: usize,
    pub durability: DurabilityMode,
    pub record_validation: RecordValidation,
    pub record_batch_decompressed_max_bytes: usize,
    pub log_retention_check_interval: Duration,
    pub producer_id_expiration_ms: i64,
    pub journal_file_bytes: u64,
    pub journal_files: usize,
    pub tail_memory_bytes: usize,
    pub flush_interval_ms: u64,
    pub io_threads: usize,
    pub index_memory_bytes: usize,
    pub log_open_files_max: usize,
    pub fetch_max_bytes: usize,
    pub max_incremental_fetch_session_cache_slots: usize,
    pub socket_request_max_bytes: usize,
    pub queued_max_request_bytes: usize,
    pub connection_inflight_max_requests: usize,
    pub connection_inflight_max_bytes: usize,
    pub max_connections: usize,
    pub max_connections_per_ip: usize,
    pub connections_max_idle: Duration,
    pub request_read_timeout: Duration,
    pub reply_write_timeout: Duration,
    pub socket_listen_backlog_size: i32,
    pub socket_send_buffer_bytes: Option<usize>,
    pub socket_receive_buffer_bytes: Option<usize>,
    pub shutdown_timeout: Duration,
    pub worker_threads: usize,
    pub blocking_threads_max: usize,
    pub log_format: LogFormat,
    pub log_level: String,
    pub metrics_topics_max: usize,
    values: Values,
}

/// What was set, by key, the strongest first. Checked.
#[derive(Clone, Debug, Default)]
struct Values(BTreeMap<&'static str, Vec<(String, Source)>>);

impl Values {
    fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key).and_then(|values| values.first()) {
            Some((value, _)) => Some(value),
            None => broker_key(key).and_then(|spec| spec.default),
        }
    }

    fn string(&self, key: &str) -> String {
        self.text(key).unwrap_or_default().to_owned()
    }

    /// A number of a key whose check has bounds that fit `T`.
    fn number<T: TryFrom<i64>>(&self, key: &str) -> T {
        let number = self.text(key).and_then(|text| text.parse::<i64>().ok()).and_then(|n| T::try_from(n).ok());
        number.unwrap_or_else(|| panic!("the table of keys gives {key} a value that its field cannot hold"))
    }

    fn millis(&self, key: &str) -> Duration {
        Duration::from_millis(self.number(key))
    }

    fn truth(&self, key: &str) -> bool {
        self.text(key) == Some("true")
    }

    fn endpoints(&self, key: &str) -> Vec<Endpoint> {
        self.text(key).and_then(parse_endpoints).unwrap_or_default()
    }

    fn buffer(&self, key: &str) -> Option<usize> {
        usize::try_from(self.number::<i64>(key)).ok()
    }
}

impl BrokerConfig {
    /// Checks settings and makes the configuration of them.
    pub fn new(sources: Sources) -> Result<BrokerConfig, ConfigError> {
        BrokerConfig::from_values(Values(sources.checked(broker_keys())?))
    }

    fn from_values(v: Values) -> Result<BrokerConfig, ConfigError> {
        let config = BrokerConfig {
            node_id: node_id(&v)?,
            data_dir: PathBuf::from(v.string("data.dir")),
            listeners: v.endpoints("listeners"),
            advertised_listeners: v.endpoints("advertised.listeners"),
            http_listener: v.text("http.listener").and_then(split_host_port),
            num_partitions: v.number("num.partitions"),
            default_replication_factor: v.number("default.replication.factor"),
            auto_create_topics_enable: v.truth("auto.create.topics.enable"),
            delete_topic_enable: v.truth("delete.topic.enable"),
            max_partitions: v.number("max.partitions"),
            max_request_partition_size_limit: v.number("max.request.partition.size.limit"),
            durability: match v.text("durability") {
                Some("page-cache") => DurabilityMode::PageCache,
                _ => DurabilityMode::Fsync,
            },
            record_validation: match v.text("record.validation") {
                Some("full") => RecordValidation::Full,
                _ => RecordValidation::Header,
            },
            record_batch_decompressed_max_bytes: v.number("record.batch.decompressed.max.bytes"),
            log_retention_check_interval: v.millis("log.retention.check.interval.ms"),
            producer_id_expiration_ms: v.number("producer.id.expiration.ms"),
            journal_file_bytes: v.number("journal.file.bytes"),
            journal_files: v.number("journal.files"),
            tail_memory_bytes: v.number("tail.memory.bytes"),
            flush_interval_ms: v.number("flush.interval.ms"),
            io_threads: v.number("io.threads"),
            index_memory_bytes: v.number("index.memory.bytes"),
            log_open_files_max: v.number("log.open.files.max"),
            fetch_max_bytes: v.number("fetch.max.bytes"),
            max_incremental_fetch_session_cache_slots: v.number("max.incremental.fetch.session.cache.slots"),
            socket_request_max_bytes: v.number("socket.request.max.bytes"),
            queued_max_request_bytes: v.number("queued.max.request.bytes"),
            connection_inflight_max_requests: v.number("connection.inflight.max.requests"),
            connection_inflight_max_bytes: v.number("connection.inflight.max.bytes"),
            max_connections: v.number("max.connections"),
            max_connections_per_ip: v.number("max.connections.per.ip"),
            connections_max_idle: v.millis("connections.max.idle.ms"),
            request_read_timeout: v.millis("request.read.timeout.ms"),
            reply_write_timeout: v.millis("reply.write.timeout.ms"),
            socket_listen_backlog_size: v.number("socket.listen.backlog.size"),
            socket_send_buffer_bytes: v.buffer("socket.send.buffer.bytes"),
            socket_receive_buffer_bytes: v.buffer("socket.receive.buffer.bytes"),
            shutdown_timeout: v.millis("shutdown.timeout.ms"),
            worker_threads: v.number("worker.threads"),
            blocking_threads_max: v.number("blocking.threads.max"),
            log_format: if v.text("log.format") == Some("json") { LogFormat::Json } else { LogFormat::Text },
            log_level: v.string("log.level"),
            metrics_topics_max: v.number("metrics.topics.max"),
            values: v,
        };
        config.check_listeners()?;
        Ok(config)
    }

    fn check_listeners(&self) -> Result<(), ConfigError> {
        for advertised in &self.advertised_listeners {
            if !self.listeners.iter().any(|listener| listener.name == advertised.name) {
                let names: Vec<&str> = self.listeners.iter().map(|listener| listener.name.as_str()).collect();
                return Err(ConfigError::Conflict(format!(
                    "advertised.listeners names {}, which is none of the listeners ({})",
                    advertised.name,
                    names.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// The value of a key as text; `None` when it is unset and has no default, or does not exist.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.text(key)
    }

    /// Everything that sets `key`, the strongest first; empty when nobody does.
    pub fn set_values_of(&self, key: &str) -> &[(String, Source)] {
        self.values.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// This configuration with what AlterConfigs set, for all brokers and for this one, on top. Keys that can only be read
    /// at the start, and values that no longer pass the table (a newer release wrote them), are left out.
    pub fn with_dynamic(
        &self,
        all_brokers: &BTreeMap<String, String>,
        this_broker: &BTreeMap<String, String>,
    ) -> Result<BrokerConfig, ConfigError> {
        let mut values = self.values.clone();
        for (configs, source) in [(all_brokers, Source::DynamicDefaultBroker), (this_broker, Source::DynamicBroker)] {
            for (key, value) in configs {
                let Some(spec) = broker_key(key).filter(|spec| spec.update == UpdateMode::Dynamic) else { continue };
                let Some(value) = spec.normalize(value) else { continue };
                values.0.entry(spec.name).or_default().insert(0, (value, source.clone()));
            }
        }
        BrokerConfig::from_values(values)
    }

    /// What the storage engine is told.
    pub fn engine_config(&self) -> EngineConfig {
        EngineConfig {
            durability: self.durability,
            journal_file_bytes: self.journal_file_bytes,
            journal_files: self.journal_files,
            tail_bytes_max: self.tail_memory_bytes,
            flush_interval_ms: self.flush_interval_ms,
            io_threads: self.io_threads,
            index_memory_bytes: self.index_memory_bytes,
            producer_id_expiration_ms: self.producer_id_expiration_ms,
            open_files_max: self.log_open_files_max,
            ..EngineConfig::new(&self.data_dir)
        }
    }
}

/// `node.id`, or `broker.id`; both may be set when they agree.
fn node_id(values: &Values) -> Result<i32, ConfigError> {
    let set = |key: &str| values.0.contains_key(key);
    match (set("node.id"), set("broker.id")) {
        (true, true) if values.text("node.id") != values.text("broker.id") => {
            Err(ConfigError::Conflict("node.id and broker.id are two names of one setting, and differ".to_owned()))
        }
        (false, true) => Ok(values.number("broker.id")),
        _ => Ok(values.number("node.id")),
    }
}

impl BrokerDefaults for BrokerConfig {
    fn set_values(&self, broker_key: &str) -> Vec<(String, ConfigSource)> {
        let values = self.set_values_of(broker_key).iter();
        values
            .map(|(value, source)| {
                let source = match source {
                    Source::DynamicBroker => ConfigSource::DynamicBroker,
                    Source::DynamicDefaultBroker => ConfigSource::DynamicDefaultBroker,
                    Source::Default => ConfigSource::Default,
                    Source::File(_) | Source::Environment(_) | Source::Flag(_) => ConfigSource::StaticBroker,
                };
                (value.clone(), source)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(assignments: &[&str]) -> Result<BrokerConfig, ConfigError> {
        let mut sources = Sources::default();
        for assignment in assignments {
            sources.push_assignment(assignment)?;
        }
        BrokerConfig::new(sources)
    }

    fn good(assignments: &[&str]) -> BrokerConfig {
        config(assignments).expect("a good configuration")
    }

    #[test]
    fn the_table_is_in_order_and_its_defaults_pass_its_own_checks() {
        let keys = broker_keys();
        for pair in keys.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} {}", pair[0].name, pair[1].name);
        }
        for key in keys {
            assert!(key.doc.ends_with('.'), "{}", key.name);
            assert!(key.default.is_none_or(|default| key.normalize(default).as_deref() == Some(default)), "{}", key.name);
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
        assert_eq!((hours.default, hours.unit, hours.value_type), (Some("168"), "hours", ValueType::Int));
        assert_eq!(broker_key("log.retention.ms").expect("exists").default, None);
    }

    #[test]
    fn values_are_read_in_their_types() {
        let config = good(&["num.partitions= 3 ", "auto.create.topics.enable=FALSE", "durability=page-cache"]);
        assert_eq!((config.num_partitions, config.auto_create_topics_enable), (3, false));
        assert_eq!(config.durability, DurabilityMode::PageCache);
        assert_eq!(config.value("auto.create.topics.enable"), Some("false"));
        assert_eq!(config.value("message.max.bytes"), Some("1048588"));
        assert_eq!(config.value("no.such.key"), None);
        let engine = good(&["journal.files=5", "data.dir=/x"]).engine_config();
        assert_eq!((engine.journal_files, engine.data_dir), (5, PathBuf::from("/x")));
    }

    #[test]
    fn listeners_are_names_with_addresses() {
        let config = good(&["listeners=127.0.0.1:0,EXTERNAL://[::1]:9093,any://:9094"]);
        let text: Vec<String> = config.listeners.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["PLAINTEXT://127.0.0.1:0", "EXTERNAL://[::1]:9093", "ANY://:9094"]);
        for bad in ["", "x", "127.0.0.1", "127.0.0.1:70000", "::1:9092", "SSL://a:1", "SASL_SSL://a:1", "a:1,b:2", "a b:1"] {
            assert!(config_error(&[&format!("listeners={bad}")]).contains("NAME://host:port"), "{bad}");
        }
    }

    fn config_error(assignments: &[&str]) -> String {
        config(assignments).expect_err("a mistake").to_string()
    }

    #[test]
    fn advertised_listeners_name_listeners() {
        let advertised = good(&["advertised.listeners=kafka.example.com:9092"]).advertised_listeners;
        assert_eq!(advertised[0].to_string(), "PLAINTEXT://kafka.example.com:9092");
        let error = config_error(&["advertised.listeners=OTHER://a:1"]);
        assert_eq!(error, "advertised.listeners names OTHER, which is none of the listeners (PLAINTEXT)");
        assert!(config_error(&["advertised.listeners=a:0"]).starts_with("advertised.listeners"));
    }

    #[test]
    fn node_id_has_two_names() {
        assert_eq!(good(&[]).node_id, 0);
        assert_eq!(good(&["broker.id=3"]).node_id, 3);
        assert_eq!(good(&["node.id=4", "broker.id=4"]).node_id, 4);
        assert!(config_error(&["node.id=4", "broker.id=5"]).contains("differ"));
    }

    #[test]
    fn http_can_be_off() {
        assert_eq!(good(&["http.listener="]).http_listener, None);
        assert_eq!(good(&["http.listener=[::]:80"]).http_listener, Some(("::".to_owned(), 80)));
        assert!(config_error(&["http.listener=here"]).contains("host:port"));
    }

    #[test]
    fn dynamic_configs_lie_on_top_and_only_where_they_may() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let start = good(&["log.retention.ms=1", "max.connections=5"]);
        let all = map(&[("log.retention.ms", "2"), ("max.connections", "6"), ("num.partitions", "9"), ("old.key", "1")]);
        let own = map(&[("max.connections", "7"), ("log.segment.bytes", "nonsense")]);
        let live = start.with_dynamic(&all, &own).expect("good");
        assert_eq!((live.max_connections, live.num_partitions), (7, 1));
        let sources: Vec<ConfigSource> = live.set_values("max.connections").into_iter().map(|(_, source)| source).collect();
        let strongest_first =
            [ConfigSource::DynamicBroker, ConfigSource::DynamicDefaultBroker, ConfigSource::StaticBroker];
        assert_eq!(sources, strongest_first);
        assert_eq!(live.set_values("log.retention.ms").first().map(|(value, _)| value.as_str()), Some("2"));
        assert!(live.set_values("log.segment.bytes").is_empty());
    }

    #[test]
    fn numbers_at_the_ends_of_their_ranges_fit_their_fields() {
        for key in broker_keys() {
            if let Check::Range(min, max) = key.check {
                for value in [min, max] {
                    good(&[&format!("{}={value}", key.name)]);
                }
                if let Some(above) = max.checked_add(1) {
                    assert!(config_error(&[&format!("{}={above}", key.name)]).contains(key.name));
                }
                if let Some(below) = min.checked_sub(1) {
                    assert!(config_error(&[&format!("{}={below}", key.name)]).contains(key.name));
                }
            }
        }
    }
}
