//! Topic configs: every key of Kafka 4.3's `LogConfig` with its type, default, validator, broker synonyms and a
//! description (contract 66). Pure: parsing, validating, and working out the value in effect.
//!
//! What never lives here: storing configs (metadata store), applying them to logs (`partitions.rs`).
//! Keys of mechanisms that this broker does not have (`flush.*`, `remote.*`, …) are validated, stored and described,
//! because tools set them; they change nothing.
//!
//! The value in effect is the topic's own, else the dynamic broker config of this broker, else the dynamic cluster
//! default, else the broker's configuration file or flags, else the default.

use std::collections::BTreeMap;
use storage::LogConfig;

/// Kafka's `ConfigDef.Type`, numbered as DescribeConfigs sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 16 bits.
    Short = 4,
    /// 64 bits.
    Long = 5,
    /// Floating point.
    Double = 6,
    /// Comma-separated.
    List = 7,
    /// A Java class name.
    Class = 8,
    /// A secret; never shown.
    Password = 9,
}

/// Where a value comes from, numbered as DescribeConfigs sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic = 1,
    /// Set at run time on this broker.
    DynamicBroker = 2,
    /// Set at run time for all brokers.
    DynamicDefaultBroker = 3,
    /// From the configuration file, the environment or the command line.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// Set on a client metrics subscription.
    ClientMetrics = 7,
    /// Set on a group.
    Group = 8,
}

/// What values a key takes beyond its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Validator {
    /// Anything of the type.
    Any,
    /// A number of at least this.
    AtLeast(i64),
    /// A number between these, both inclusive.
    Between(i64, i64),
    /// −1 or between these, both inclusive (gzip levels).
    MinusOneOrBetween(i64, i64),
    /// A fraction between 0 and 1.
    Ratio,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of these words without duplicates; may be empty.
    ListOf(&'static [&'static str]),
    /// `*`, or `partition:broker` pairs.
    ThrottledReplicas,
}

/// A broker config that is a topic config's default, and what its value is multiplied by (`log.retention.hours`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The broker's key.
    pub key: &'static str,
    /// The topic's value is the broker's times this.
    pub factor: i64,
}

/// One topic config key.
#[derive(Clone, Copy, Debug)]
pub struct TopicConfigKey {
    /// Kafka's name.
    pub name: &'static str,
    /// Its type.
    pub config_type: ConfigType,
    /// The default as text, as DescribeConfigs shows it.
    pub default: &'static str,
    /// What is accepted.
    pub validator: Validator,
    /// Broker configs that are its default, the strongest first.
    pub synonyms: &'static [Synonym],
    /// One or two sentences for a person.
    pub documentation: &'static str,
}

const fn same(key: &'static str) -> Synonym {
    Synonym { key, factor: 1 }
}

const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
const MAX_I64: &str = "9223372036854775807";

macro_rules! keys {
    ($($name:literal $type:ident $default:expr, $validator:expr, $synonyms:expr, $documentation:literal;)*) => {
        &[$(TopicConfigKey {
            name: $name,
            config_type: ConfigType::$type,
            default: $default,
            validator: $validator,
            synonyms: $synonyms,
            documentation: $documentation,
        }),*]
    };
}

/// All keys, sorted by name.
pub const TOPIC_CONFIG_KEYS: &[TopicConfigKey] = keys! {
    "cleanup.policy" List "delete", Validator::ListOf(&["compact", "delete"]), &[same("log.cleanup.policy")],
        "What happens to old segments: `delete` removes them by retention time and size, `compact` keeps the last record of each key, both may be given. A topic whose policy lacks `delete` is kept whole.";
    "compression.gzip.level" Int "-1", Validator::MinusOneOrBetween(1, 9), &[same("compression.gzip.level")],
        "Level used when the broker compresses with gzip; -1 is the codec's default.";
    "compression.lz4.level" Int "9", Validator::Between(1, 17), &[same("compression.lz4.level")],
        "Level used when the broker compresses with lz4.";
    "compression.type" String "producer", Validator::OneOf(COMPRESSION_TYPES), &[same("compression.type")],
        "How batches are compressed in the log: a codec, `uncompressed`, or `producer` to keep what the producer sent. Anything but `producer` makes the broker rewrite batches that differ.";
    "compression.zstd.level" Int "3", Validator::Between(-131_072, 22), &[same("compression.zstd.level")],
        "Level used when the broker compresses with zstd.";
    "delete.retention.ms" Long "86400000", Validator::AtLeast(0), &[same("log.cleaner.delete.retention.ms")],
        "How long tombstones of a compacted topic are kept, milliseconds.";
    "file.delete.delay.ms" Long "60000", Validator::AtLeast(0), &[same("log.segment.delete.delay.ms")],
        "How long a removed file stays on disk, milliseconds. Accepted and described; files go at once here.";
    "flush.messages" Long MAX_I64, Validator::AtLeast(1), &[same("log.flush.interval.messages")],
        "Records between forced flushes. Accepted and described; durability follows acks and the broker's `durability` here.";
    "flush.ms" Long MAX_I64, Validator::AtLeast(0), &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
        "Milliseconds between forced flushes. Accepted and described; durability follows acks and the broker's `durability` here.";
    "follower.replication.throttled.replicas" List "", Validator::ThrottledReplicas, &[],
        "Replicas whose replication is throttled on the follower: `partition:broker` pairs or `*`. Accepted and described; nothing is replicated between brokers here.";
    "index.interval.bytes" Int "4096", Validator::AtLeast(0), &[same("log.index.interval.bytes")],
        "Bytes between entries of the offset index. Accepted and described; the index chooses its own density here.";
    "leader.replication.throttled.replicas" List "", Validator::ThrottledReplicas, &[],
        "Replicas whose replication is throttled on the leader: `partition:broker` pairs or `*`. Accepted and described; nothing is replicated between brokers here.";
    "local.retention.bytes" Long "-2", Validator::AtLeast(-2), &[same("log.local.retention.bytes")],
        "Bytes of a partition kept on local disk when remote storage is on; -2 means `retention.bytes`.";
    "local.retention.ms" Long "-2", Validator::AtLeast(-2), &[same("log.local.retention.ms")],
        "Milliseconds a segment stays on local disk when remote storage is on; -2 means `retention.ms`.";
    "max.compaction.lag.ms" Long MAX_I64, Validator::AtLeast(1), &[same("log.cleaner.max.compaction.lag.ms")],
        "Longest time a record of a compacted topic may stay uncompacted, milliseconds.";
    "max.message.bytes" Int "1048588", Validator::AtLeast(0), &[same("message.max.bytes")],
        "Largest record batch accepted, bytes, after compression.";
    "message.timestamp.after.max.ms" Long "3600000", Validator::AtLeast(0), &[same("log.message.timestamp.after.max.ms")],
        "How far a record's timestamp may lie in the future, milliseconds; does not apply to LogAppendTime.";
    "message.timestamp.before.max.ms" Long MAX_I64, Validator::AtLeast(0), &[same("log.message.timestamp.before.max.ms")],
        "How far a record's timestamp may lie in the past, milliseconds; does not apply to LogAppendTime.";
    "message.timestamp.type" String "CreateTime", Validator::OneOf(&["CreateTime", "LogAppendTime"]), &[same("log.message.timestamp.type")],
        "Whether records carry the producer's time or the broker's.";
    "min.cleanable.dirty.ratio" Double "0.5", Validator::Ratio, &[same("log.cleaner.min.cleanable.ratio")],
        "Share of a log that must be uncompacted before it is compacted.";
    "min.compaction.lag.ms" Long "0", Validator::AtLeast(0), &[same("log.cleaner.min.compaction.lag.ms")],
        "Shortest time a record of a compacted topic stays uncompacted, milliseconds.";
    "min.insync.replicas" Int "1", Validator::AtLeast(1), &[same("min.insync.replicas")],
        "Replicas that must acknowledge a write with acks=all. Stored and described; one durable copy satisfies it here.";
    "preallocate" Boolean "false", Validator::Any, &[same("log.preallocate")],
        "Whether segment files are allocated when created. Accepted and described; busy partitions always preallocate here.";
    "remote.copy.lag.bytes" Long "0", Validator::AtLeast(-1), &[same("log.remote.copy.lag.bytes")],
        "Bytes by which copying to remote storage may lag; -1 means the local retention.";
    "remote.copy.lag.ms" Long "0", Validator::AtLeast(-1), &[same("log.remote.copy.lag.ms")],
        "Milliseconds by which copying to remote storage may lag; -1 means the local retention.";
    "remote.log.copy.disable" Boolean "false", Validator::Any, &[],
        "Whether a topic with remote storage stops copying to it and is only read from it.";
    "remote.log.delete.on.disable" Boolean "false", Validator::Any, &[],
        "Whether turning remote storage off deletes what is there.";
    "remote.storage.enable" Boolean "false", Validator::Any, &[],
        "Whether segments of the topic are copied to remote storage.";
    "retention.bytes" Long "-1", Validator::Any, &[same("log.retention.bytes")],
        "Size of a partition above which its oldest segments are removed, bytes; -1 is no limit. Needs `delete` in cleanup.policy.";
    "retention.ms" Long "604800000", Validator::AtLeast(-1),
        &[same("log.retention.ms"), Synonym { key: "log.retention.minutes", factor: MINUTE_MS }, Synonym { key: "log.retention.hours", factor: HOUR_MS }],
        "Age of a segment's newest record above which the segment is removed, milliseconds; -1 is no limit. Needs `delete` in cleanup.policy.";
    "segment.bytes" Int "1073741824", Validator::AtLeast(1 << 20), &[same("log.segment.bytes")],
        "Size at which a segment is sealed and the next begins, bytes; retention removes whole segments.";
    "segment.index.bytes" Int "10485760", Validator::AtLeast(4), &[same("log.index.size.max.bytes")],
        "Size of a segment's offset index. Accepted and described; the index has no such limit here.";
    "segment.jitter.ms" Long "0", Validator::AtLeast(0),
        &[same("log.roll.jitter.ms"), Synonym { key: "log.roll.jitter.hours", factor: HOUR_MS }],
        "Random time taken off segment.ms. Accepted and described; segments roll without jitter here.";
    "segment.ms" Long "604800000", Validator::AtLeast(1),
        &[same("log.roll.ms"), Synonym { key: "log.roll.hours", factor: HOUR_MS }],
        "Age of a segment's first record at which the segment is sealed, milliseconds.";
    "unclean.leader.election.enable" Boolean "false", Validator::Any, &[same("unclean.leader.election.enable")],
        "Whether a replica that is behind may become leader. Accepted and described; there is one copy here.";
};

/// Finds a key. Takes Kafka's exact name.
pub fn topic_config_key(name: &str) -> Option<&'static TopicConfigKey> {
    TOPIC_CONFIG_KEYS
        .binary_search_by(|key| key.name.cmp(name))
        .ok()
        .map(|at| &TOPIC_CONFIG_KEYS[at])
}

/// The topic key whose default a broker key is, with the factor: `log.retention.hours` gives `retention.ms`, 3,600,000.
pub fn topic_key_of_broker_synonym(broker_key: &str) -> Option<(&'static TopicConfigKey, i64)> {
    TOPIC_CONFIG_KEYS.iter().find_map(|key| {
        key.synonyms
            .iter()
            .find(|synonym| synonym.key == broker_key)
            .map(|synonym| (key, synonym.factor))
    })
}

/// Parses and checks a value as Kafka's `ConfigDef` does; the error is the text for the client.
pub fn validate_value(name: &str, config_type: ConfigType, validator: &Validator, value: &str) -> Result<(), String> {
    let invalid = |why: &str| Err(format!("Invalid value {value} for configuration {name}: {why}"));
    let value_of = |kind: &str| invalid(&format!("Not a number of type {kind}"));
    let trimmed = value.trim();
    let in_range = |number: i64| -> Result<(), String> {
        match *validator {
            Validator::AtLeast(min) if number < min => invalid(&format!("Value must be at least {min}")),
            Validator::Between(min, max) if number < min || number > max => {
                invalid(&format!("Value must be between {min} and {max}"))
            }
            Validator::MinusOneOrBetween(min, max) if number != -1 && (number < min || number > max) => {
                invalid(&format!("Value must be between {min} and {max} or equal to -1"))
            }
            _ => Ok(()),
        }
    };
    match config_type {
        ConfigType::Boolean if trimmed.eq_ignore_ascii_case("true") || trimmed.eq_ignore_ascii_case("false") => Ok(()),
        ConfigType::Boolean => invalid("Expected value to be either true or false"),
        ConfigType::Short => trimmed
            .parse::<i16>()
            .map_or_else(|_| value_of("SHORT"), |n| in_range(i64::from(n))),
        ConfigType::Int => trimmed
            .parse::<i32>()
            .map_or_else(|_| value_of("INT"), |n| in_range(i64::from(n))),
        ConfigType::Long => trimmed.parse::<i64>().map_or_else(|_| value_of("LONG"), in_range),
        ConfigType::Double => match trimmed.parse::<f64>() {
            Ok(number) if *validator != Validator::Ratio || (0.0..=1.0).contains(&number) => Ok(()),
            Ok(_) => invalid("Value must be between 0 and 1"),
            Err(_) => value_of("DOUBLE"),
        },
        ConfigType::String | ConfigType::Class | ConfigType::Password => match validator {
            Validator::OneOf(words) if !words.contains(&trimmed) => {
                invalid(&format!("String must be one of: {}", words.join(", ")))
            }
            _ => Ok(()),
        },
        ConfigType::List => validate_list(validator, trimmed).or_else(|why| invalid(&why)),
    }
}

fn validate_list(validator: &Validator, value: &str) -> Result<(), String> {
    let items = list_items(value);
    match validator {
        Validator::ListOf(words) => {
            for (at, item) in items.iter().enumerate() {
                if !words.contains(item) {
                    return Err(format!("String must be one of: {}", words.join(", ")));
                }
                if items[..at].contains(item) {
                    return Err("values must not be duplicated".to_owned());
                }
            }
            Ok(())
        }
        Validator::ThrottledReplicas => {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let is_pair = |item: &&str| {
                item.split_once(':')
                    .is_some_and(|(partition, broker)| digits(partition) && digits(broker))
            };
            if matches!(items.as_slice(), ["*"]) || items.iter().all(is_pair) {
                Ok(())
            } else {
                Err(
                    "must be the literal '*' or a list of replicas in the format [partitionId]:[brokerId],..."
                        .to_owned(),
                )
            }
        }
        _ => Ok(()),
    }
}

/// The items of a LIST value; an empty text has none. `"a, b"` gives `["a", "b"]`.
pub fn list_items(value: &str) -> Vec<&str> {
    let value = value.trim();
    if value.is_empty() {
        Vec::new()
    } else {
        value.split(',').map(str::trim).collect()
    }
}

impl TopicConfigKey {
    /// Checks a value for this key.
    pub fn validate(&self, value: &str) -> Result<(), String> {
        validate_value(self.name, self.config_type, &self.validator, value)
    }
}

/// Checks a topic's own configs, all of them together: names, values, and values that contradict each other with the
/// broker's defaults counted in. The error is the text that goes with INVALID_CONFIG(40).
pub fn validate_topic_configs(configs: &BTreeMap<String, String>, broker: &impl BrokerDefaults) -> Result<(), String> {
    for (name, value) in configs {
        let key = topic_config_key(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
        key.validate(value)?;
    }
    let number = |name: &str| {
        topic_config_key(name).and_then(|key| effective(key, configs, broker).value.trim().parse::<i64>().ok())
    };
    if let (Some(min), Some(max)) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"))
        && min > max
    {
        return Err(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        ));
    }
    Ok(())
}

/// What the broker's own configuration says about a broker key. Implemented by the broker's configuration, and by a map
/// in tests.
pub trait BrokerDefaults {
    /// The strongest value that somebody set for a broker key, with its source (2, 3 or 4), and weaker ones after it.
    /// Empty when nobody set it.
    fn set_values(&self, broker_key: &str) -> Vec<(String, ConfigSource)>;
}

/// A value with where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveValue {
    /// As text.
    pub value: String,
    /// Who set it.
    pub source: ConfigSource,
}

/// One line of the list of synonyms that DescribeConfigs shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynonymValue {
    /// The topic's or the broker's key.
    pub name: String,
    /// In that key's unit.
    pub value: String,
    /// Who set it.
    pub source: ConfigSource,
}

/// The value of `key` in effect for a topic with these overrides.
pub fn effective(
    key: &TopicConfigKey,
    configs: &BTreeMap<String, String>,
    broker: &impl BrokerDefaults,
) -> EffectiveValue {
    if let Some(value) = configs.get(key.name) {
        return EffectiveValue {
            value: value.clone(),
            source: ConfigSource::Topic,
        };
    }
    for synonym in key.synonyms {
        if let Some((value, source)) = broker.set_values(synonym.key).into_iter().next()
            && let Some(value) = scaled(&value, synonym.factor)
        {
            return EffectiveValue { value, source };
        }
    }
    EffectiveValue {
        value: key.default.to_owned(),
        source: ConfigSource::Default,
    }
}

/// Every place that sets `key`, the strongest first, the default last.
pub fn synonyms(
    key: &TopicConfigKey,
    configs: &BTreeMap<String, String>,
    broker: &impl BrokerDefaults,
) -> Vec<SynonymValue> {
    let mut found = Vec::new();
    if let Some(value) = configs.get(key.name) {
        found.push(SynonymValue {
            name: key.name.to_owned(),
            value: value.clone(),
            source: ConfigSource::Topic,
        });
    }
    for synonym in key.synonyms {
        for (value, source) in broker.set_values(synonym.key) {
            found.push(SynonymValue {
                name: synonym.key.to_owned(),
                value,
                source,
            });
        }
    }
    // Kafka shows the default under the name of the broker key it comes from, in that key's unit
    // (log.retention.hours=168 for retention.ms); keys without synonyms have none listed.
    if let Some(last) = key.synonyms.last() {
        let value = match key.default.parse::<i64>() {
            Ok(number) if last.factor > 1 => (number / last.factor).to_string(),
            _ => key.default.to_owned(),
        };
        found.push(SynonymValue {
            name: last.key.to_owned(),
            value,
            source: ConfigSource::Default,
        });
    }
    found
}

/// `value` times `factor`; −1 (no limit) stays −1 in every unit.
fn scaled(value: &str, factor: i64) -> Option<String> {
    if factor == 1 {
        return Some(value.to_owned());
    }
    let number: i64 = value.trim().parse().ok()?;
    Some(if number < 0 { -1 } else { number.saturating_mul(factor) }.to_string())
}

/// How the broker compresses what a producer sent differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicCompression {
    /// Keep what the producer sent.
    Producer,
    /// Store with this codec (0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd) and level, where the codec has levels.
    Codec {
        /// Codec id as in batch attributes.
        id: u8,
        /// Level, where the codec has one.
        level: Option<i32>,
    },
}

/// The values in effect that the broker obeys, parsed once when a topic or a default changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// `message.timestamp.type` is LogAppendTime.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `compression.type`.
    pub compression: TopicCompression,
    /// `cleanup.policy` contains compact: records need keys (contract 34).
    pub compact: bool,
    /// What the log itself obeys.
    pub log: LogConfig,
}

impl TopicSettings {
    /// Works out the settings. Values were validated when they were set; one that does not parse (a broker synonym
    /// written by hand) falls back to the default.
    pub fn new(configs: &BTreeMap<String, String>, broker: &impl BrokerDefaults) -> TopicSettings {
        let text = |name: &str| match topic_config_key(name) {
            Some(key) => {
                let value = effective(key, configs, broker).value;
                if key.validate(&value).is_ok() {
                    value.trim().to_owned()
                } else {
                    key.default.to_owned()
                }
            }
            None => String::new(),
        };
        let number = |name: &str| text(name).parse::<i64>().unwrap_or_default();
        let level = |name: &str| Some(number(name) as i32);
        let policy = text("cleanup.policy");
        let policy = list_items(&policy);
        TopicSettings {
            max_message_bytes: usize::try_from(number("max.message.bytes")).unwrap_or_default(),
            log_append_time: text("message.timestamp.type") == "LogAppendTime",
            timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
            compression: match text("compression.type").as_str() {
                "uncompressed" => TopicCompression::Codec { id: 0, level: None },
                "gzip" => TopicCompression::Codec {
                    id: 1,
                    level: level("compression.gzip.level"),
                },
                "snappy" => TopicCompression::Codec { id: 2, level: None },
                "lz4" => TopicCompression::Codec {
                    id: 3,
                    level: level("compression.lz4.level"),
                },
                "zstd" => TopicCompression::Codec {
                    id: 4,
                    level: level("compression.zstd.level"),
                },
                _ => TopicCompression::Producer,
            },
            compact: policy.contains(&"compact"),
            log: LogConfig {
                segment_bytes: u64::try_from(number("segment.bytes")).unwrap_or(1 << 30),
                segment_ms: number("segment.ms"),
                retention_ms: number("retention.ms"),
                retention_bytes: number("retention.bytes"),
                delete_policy: policy.contains(&"delete"),
            },
        }
    }
}

#[cfg(test)]
mod tests;
