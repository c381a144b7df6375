//! Topic configs: the table, validation, the value in effect.

use super::*;

/// Broker key, value, source; the strongest first.
struct Defaults(Vec<(String, String, ConfigSource)>);

impl BrokerDefaults for Defaults {
    fn set_values(&self, broker_key: &str) -> Vec<(String, ConfigSource)> {
        let set = self.0.iter().filter(|line| line.0 == broker_key);
        set.map(|line| (line.1.clone(), line.2)).collect()
    }
}

fn nothing() -> Defaults {
    Defaults(Vec::new())
}

fn values(set: &[(&str, &str, ConfigSource)]) -> Defaults {
    Defaults(
        set.iter()
            .map(|line| (line.0.to_owned(), line.1.to_owned(), line.2))
            .collect(),
    )
}

fn configs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn keys_are_sorted_and_their_defaults_are_valid() {
    // contract 66
    assert!(TOPIC_CONFIG_KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
    for key in TOPIC_CONFIG_KEYS {
        assert_eq!(key.validate(key.default), Ok(()), "{}", key.name);
        assert!(!key.documentation.is_empty());
        assert_eq!(topic_config_key(key.name).map(|found| found.name), Some(key.name));
    }
    assert!(topic_config_key("message.format.version").is_none());
    assert!(topic_config_key("").is_none());
}

#[test]
fn keys_that_do_nothing_here_are_accepted() {
    // contract 66: Streams, MirrorMaker and Terraform set them
    let set = configs(&[
        ("flush.messages", "1"),
        ("flush.ms", "1000"),
        ("file.delete.delay.ms", "0"),
        ("index.interval.bytes", "0"),
        ("segment.index.bytes", "4"),
        ("segment.jitter.ms", "5"),
        ("preallocate", "TRUE"),
        ("unclean.leader.election.enable", "false"),
        ("compression.gzip.level", "-1"),
        ("compression.lz4.level", "17"),
        ("compression.zstd.level", "-131072"),
        ("remote.storage.enable", "true"),
        ("remote.log.copy.disable", "true"),
        ("local.retention.ms", "-2"),
        ("local.retention.bytes", "-1"),
        ("leader.replication.throttled.replicas", "*"),
        ("follower.replication.throttled.replicas", "0:1,1:2"),
    ]);
    assert_eq!(validate_topic_configs(&set, &nothing()), Ok(()));
}

#[test]
fn values_outside_kafkas_ranges_are_refused() {
    // contract 34, 66
    for (key, value) in [
        ("segment.bytes", "1048575"),
        ("segment.bytes", "2147483648"),
        ("segment.bytes", ""),
        ("segment.ms", "0"),
        ("retention.ms", "-2"),
        ("retention.ms", "one week"),
        ("max.message.bytes", "-1"),
        ("min.insync.replicas", "0"),
        ("min.cleanable.dirty.ratio", "1.01"),
        ("min.cleanable.dirty.ratio", "NaN"),
        ("cleanup.policy", "delete,archive"),
        ("cleanup.policy", "delete,delete"),
        ("compression.type", "brotli"),
        ("compression.gzip.level", "0"),
        ("compression.gzip.level", "10"),
        ("compression.lz4.level", "18"),
        ("compression.zstd.level", "23"),
        ("message.timestamp.type", "createtime"),
        ("preallocate", "yes"),
        ("leader.replication.throttled.replicas", "0:x"),
        ("leader.replication.throttled.replicas", "*,0:1"),
        ("retentionms", "1"),
    ] {
        let refused = validate_topic_configs(&configs(&[(key, value)]), &nothing());
        assert!(
            refused.as_ref().is_err_and(|text| text.contains(key)),
            "{key}={value}: {refused:?}"
        );
    }
}

#[test]
fn lag_bounds_may_not_contradict_each_other() {
    let set = configs(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "9")]);
    assert!(validate_topic_configs(&set, &nothing()).is_err());
    let set = configs(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "10")]);
    assert_eq!(validate_topic_configs(&set, &nothing()), Ok(()));
}

#[test]
fn the_strongest_place_wins_and_all_are_listed() {
    // contract 66
    let key = topic_config_key("retention.ms").expect("a key");
    let broker = values(&[
        ("log.retention.minutes", "2", ConfigSource::StaticBroker),
        ("log.retention.hours", "1", ConfigSource::StaticBroker),
    ]);
    let at = |set: &BTreeMap<String, String>| effective(key, set, &broker);
    assert_eq!(
        at(&configs(&[])),
        EffectiveValue {
            value: "120000".to_owned(),
            source: ConfigSource::StaticBroker
        }
    );
    let own = configs(&[("retention.ms", "7")]);
    assert_eq!(
        at(&own),
        EffectiveValue {
            value: "7".to_owned(),
            source: ConfigSource::Topic
        }
    );
    let listed: Vec<_> = synonyms(key, &own, &broker)
        .into_iter()
        .map(|line| (line.name, line.value, line.source))
        .collect();
    let line = |name: &str, value: &str, source| (name.to_owned(), value.to_owned(), source);
    assert_eq!(
        listed,
        [
            line("retention.ms", "7", ConfigSource::Topic),
            line("log.retention.minutes", "2", ConfigSource::StaticBroker),
            line("log.retention.hours", "1", ConfigSource::StaticBroker),
            line("log.retention.hours", "168", ConfigSource::Default),
        ]
    );
}

#[test]
fn no_limit_stays_no_limit_in_every_unit() {
    let broker = values(&[("log.retention.hours", "-1", ConfigSource::StaticBroker)]);
    assert_eq!(TopicSettings::new(&BTreeMap::new(), &broker).log.retention_ms, -1);
}

#[test]
fn settings_are_the_values_in_effect() {
    let broker = values(&[
        ("message.max.bytes", "5000", ConfigSource::DynamicDefaultBroker),
        ("log.segment.bytes", "nonsense", ConfigSource::StaticBroker),
    ]);
    let own = configs(&[
        ("compression.type", "zstd"),
        ("cleanup.policy", "compact"),
        ("retention.bytes", "99"),
    ]);
    let settings = TopicSettings::new(&own, &broker);
    assert_eq!(settings.max_message_bytes, 5000);
    assert_eq!(settings.compression, TopicCompression::Codec { id: 4, level: Some(3) });
    assert!(settings.compact && !settings.log.delete_policy);
    assert_eq!(settings.log.segment_bytes, 1 << 30);
    assert_eq!(settings.log.retention_bytes, 99);
    assert_eq!(settings.timestamp_after_max_ms, 3_600_000);
    assert!(!settings.log_append_time);
}

#[test]
fn broker_keys_find_their_topic_key() {
    assert_eq!(
        topic_key_of_broker_synonym("log.roll.hours").map(|(key, factor)| (key.name, factor)),
        Some(("segment.ms", HOUR_MS))
    );
    assert!(topic_key_of_broker_synonym("num.partitions").is_none());
}
