//! The broker's configuration, typed: what the settings come to.
//!
//! What never lives here: which keys exist ([`super::broker`]), where settings are read from ([`super::Sources`]).

use super::endpoint::{Endpoint, parse_endpoints, split_host_port};
use super::topic::{BrokerDefaults, ConfigSource};
use super::{ConfigError, Settings, Source, Sources, UpdateMode, broker_key, broker_keys};
use crate::groups::{GroupConfig, MigrationPolicy};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::{DurabilityMode, EngineConfig};

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
    pub group: Arc<GroupConfig>,
    pub offsets_commit_timeout: Duration,
    pub offsets_retention_check_interval: Duration,
    pub offsets_topic_num_partitions: i32,
    pub offsets_topic_replication_factor: i16,
    pub offsets_topic_segment_bytes: u64,
    pub offsets_topic_checkpoint_min_records: u64,
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
struct Values(Settings);

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
        let number = self
            .text(key)
            .and_then(|text| text.parse::<i64>().ok())
            .and_then(|n| T::try_from(n).ok());
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
            group: Arc::new(group_config(&v)),
            offsets_commit_timeout: v.millis("offsets.commit.timeout.ms"),
            offsets_retention_check_interval: v.millis("offsets.retention.check.interval.ms"),
            offsets_topic_num_partitions: v.number("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: v.number("offsets.topic.replication.factor"),
            offsets_topic_segment_bytes: v.number("offsets.topic.segment.bytes"),
            offsets_topic_checkpoint_min_records: v.number("offsets.topic.checkpoint.min.records"),
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
            log_format: if v.text("log.format") == Some("json") {
                LogFormat::Json
            } else {
                LogFormat::Text
            },
            log_level: v.string("log.level"),
            metrics_topics_max: v.number("metrics.topics.max"),
            values: v,
        };
        config.check_listeners()?;
        config.check_group_ranges()?;
        Ok(config)
    }

    /// A default must lie in the range that it is the default of.
    fn check_group_ranges(&self) -> Result<(), ConfigError> {
        let group = &self.group;
        let (session, heartbeat) = (
            group.group_consumer_session_timeout_ms,
            group.group_consumer_heartbeat_interval_ms,
        );
        let (session_min, session_max) = (
            group.group_consumer_min_session_timeout_ms,
            group.group_consumer_max_session_timeout_ms,
        );
        let (heartbeat_min, heartbeat_max) = (
            group.group_consumer_min_heartbeat_interval_ms,
            group.group_consumer_max_heartbeat_interval_ms,
        );
        let conflict = |text: String| Err(ConfigError::Conflict(text));
        if group.group_min_session_timeout_ms > group.group_max_session_timeout_ms {
            return conflict("group.min.session.timeout.ms is above group.max.session.timeout.ms".to_owned());
        }
        if !(session_min..=session_max).contains(&session) {
            return conflict(format!(
                "group.consumer.session.timeout.ms ({session}) is not between group.consumer.min.session.timeout.ms ({session_min}) and group.consumer.max.session.timeout.ms ({session_max})"
            ));
        }
        if !(heartbeat_min..=heartbeat_max).contains(&heartbeat) {
            return conflict(format!(
                "group.consumer.heartbeat.interval.ms ({heartbeat}) is not between group.consumer.min.heartbeat.interval.ms ({heartbeat_min}) and group.consumer.max.heartbeat.interval.ms ({heartbeat_max})"
            ));
        }
        if heartbeat >= session {
            return conflict(format!(
                "group.consumer.heartbeat.interval.ms ({heartbeat}) is not below group.consumer.session.timeout.ms ({session})"
            ));
        }
        Ok(())
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
        for (configs, source) in [
            (all_brokers, Source::DynamicDefaultBroker),
            (this_broker, Source::DynamicBroker),
        ] {
            for (key, value) in configs {
                let Some(spec) = broker_key(key).filter(|spec| spec.update == UpdateMode::Dynamic) else {
                    continue;
                };
                let Some(value) = spec.normalize(value) else { continue };
                values
                    .0
                    .entry(spec.name)
                    .or_default()
                    .insert(0, (value, source.clone()));
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

/// What consumer groups are told.
fn group_config(v: &Values) -> GroupConfig {
    GroupConfig {
        group_min_session_timeout_ms: v.number("group.min.session.timeout.ms"),
        group_max_session_timeout_ms: v.number("group.max.session.timeout.ms"),
        group_initial_rebalance_delay_ms: v.number("group.initial.rebalance.delay.ms"),
        group_max_size: v.number("group.max.size"),
        offset_metadata_max_bytes: v.number("offset.metadata.max.bytes"),
        offsets_retention_ms: v.number::<i64>("offsets.retention.minutes") * 60_000,
        group_consumer_session_timeout_ms: v.number("group.consumer.session.timeout.ms"),
        group_consumer_min_session_timeout_ms: v.number("group.consumer.min.session.timeout.ms"),
        group_consumer_max_session_timeout_ms: v.number("group.consumer.max.session.timeout.ms"),
        group_consumer_heartbeat_interval_ms: v.number("group.consumer.heartbeat.interval.ms"),
        group_consumer_min_heartbeat_interval_ms: v.number("group.consumer.min.heartbeat.interval.ms"),
        group_consumer_max_heartbeat_interval_ms: v.number("group.consumer.max.heartbeat.interval.ms"),
        group_consumer_max_size: v.number("group.consumer.max.size"),
        group_consumer_assignors: v
            .text("group.consumer.assignors")
            .unwrap_or_default()
            .split(',')
            .map(|name| Arc::from(name.trim()))
            .collect(),
        group_consumer_migration_policy: match v.text("group.consumer.migration.policy") {
            Some("upgrade") => MigrationPolicy::Upgrade,
            Some("downgrade") => MigrationPolicy::Downgrade,
            Some("disabled") => MigrationPolicy::Disabled,
            _ => MigrationPolicy::Bidirectional,
        },
        group_consumer_regex_refresh_interval_ms: v.number("group.consumer.regex.refresh.interval.ms"),
        group_coordinator_max_groups: v.number("group.coordinator.max.groups"),
    }
}

/// `node.id`, or `broker.id`; both may be set when they agree.
fn node_id(values: &Values) -> Result<i32, ConfigError> {
    let set = |key: &str| values.0.contains_key(key);
    match (set("node.id"), set("broker.id")) {
        (true, true) if values.text("node.id") != values.text("broker.id") => Err(ConfigError::Conflict(
            "node.id and broker.id are two names of one setting, and differ".to_owned(),
        )),
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
    use crate::config::Check;

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

    fn config_error(assignments: &[&str]) -> String {
        config(assignments).expect_err("a mistake").to_string()
    }

    #[test]
    fn values_are_read_in_their_types() {
        let config = good(&[
            "num.partitions= 3 ",
            "auto.create.topics.enable=FALSE",
            "durability=page-cache",
        ]);
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
        assert_eq!(
            text,
            ["PLAINTEXT://127.0.0.1:0", "EXTERNAL://[::1]:9093", "ANY://:9094"]
        );
        for bad in [
            "",
            "x",
            "127.0.0.1",
            "127.0.0.1:70000",
            "::1:9092",
            "SSL://a:1",
            "SASL_SSL://a:1",
            "a:1,b:2",
            "a b:1",
        ] {
            assert!(
                config_error(&[&format!("listeners={bad}")]).contains("NAME://host:port"),
                "{bad}"
            );
        }
    }

    #[test]
    fn advertised_listeners_name_listeners() {
        let advertised = good(&["advertised.listeners=kafka.example.com:9092"]).advertised_listeners;
        assert_eq!(advertised[0].to_string(), "PLAINTEXT://kafka.example.com:9092");
        let error = config_error(&["advertised.listeners=OTHER://a:1"]);
        assert_eq!(
            error,
            "advertised.listeners names OTHER, which is none of the listeners (PLAINTEXT)"
        );
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
    fn group_keys_have_kafkas_defaults() {
        assert_eq!(*good(&[]).group, GroupConfig::default());
        let group = good(&["group.consumer.assignors=range, uniform", "offsets.retention.minutes=2"]).group;
        assert_eq!(&*group.group_consumer_assignors[0], "range");
        assert_eq!(group.offsets_retention_ms, 120_000);
    }

    #[test]
    fn group_defaults_lie_in_their_ranges() {
        assert!(config_error(&["group.consumer.session.timeout.ms=44999"]).contains("min.session"));
        assert!(config_error(&["group.consumer.heartbeat.interval.ms=15001"]).contains("max.heartbeat"));
        assert!(config_error(&["group.min.session.timeout.ms=1800001"]).contains("above"));
        let short = [
            "group.consumer.session.timeout.ms=5000",
            "group.consumer.min.session.timeout.ms=1000",
        ];
        assert!(config_error(&short).contains("not below"));
    }

    #[test]
    fn http_can_be_off() {
        assert_eq!(good(&["http.listener="]).http_listener, None);
        assert_eq!(
            good(&["http.listener=[::]:80"]).http_listener,
            Some(("::".to_owned(), 80))
        );
        assert!(config_error(&["http.listener=here"]).contains("host:port"));
    }

    #[test]
    fn dynamic_configs_lie_on_top_and_only_where_they_may() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let start = good(&["log.retention.ms=1", "max.connections=5"]);
        let all = map(&[
            ("log.retention.ms", "2"),
            ("max.connections", "6"),
            ("num.partitions", "9"),
            ("old.key", "1"),
        ]);
        let own = map(&[("max.connections", "7"), ("log.segment.bytes", "nonsense")]);
        let live = start.with_dynamic(&all, &own).expect("good");
        assert_eq!((live.max_connections, live.num_partitions), (7, 1));
        let sources: Vec<ConfigSource> = live
            .set_values("max.connections")
            .into_iter()
            .map(|(_, source)| source)
            .collect();
        let strongest_first = [
            ConfigSource::DynamicBroker,
            ConfigSource::DynamicDefaultBroker,
            ConfigSource::StaticBroker,
        ];
        assert_eq!(sources, strongest_first);
        assert_eq!(
            live.set_values("log.retention.ms")
                .first()
                .map(|(value, _)| value.as_str()),
            Some("2")
        );
        assert!(live.set_values("log.segment.bytes").is_empty());
    }

    #[test]
    fn numbers_at_the_ends_of_their_ranges_fit_their_fields() {
        for key in broker_keys() {
            if let Check::Range(min, max) = key.check {
                for value in [min, max] {
                    // Alone it may contradict another key's default; it must not meet a field that cannot hold it.
                    let set = config(&[&format!("{}={value}", key.name)]);
                    assert!(matches!(set, Ok(_) | Err(ConfigError::Conflict(_))), "{}", key.name);
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
