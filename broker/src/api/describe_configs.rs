//! DescribeConfigs (32), versions 1–4: configs of topics, this broker, groups and client metrics subscriptions, with source,
//! synonyms, type and description (contract 66). Sensitive values are null. The broker resource `""` lists what is set for all
//! brokers, as in Kafka. Any group id and subscription name can be described: what is not set has its default.

use super::config_changes::ConfigResource;
use crate::config::client_metrics::CLIENT_METRICS_KEYS;
use crate::config::group::GROUP_CONFIG_KEYS;
use crate::config::topic::{
    BrokerDefaults, ConfigSource, ConfigType, SynonymValue, TOPIC_CONFIG_KEYS, effective, synonyms,
};
use crate::config::{KeySpec, UpdateMode, broker_key, broker_keys};
use crate::context::{Operation, RequestContext};
use crate::errors::ApiError;
use crate::partitions::{BrokerSettings, Topic};
use crate::resource_configs::Configs;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;

/// What the request wants to see of each key.
#[derive(Clone, Copy)]
struct View {
    synonyms: bool,
    documentation: bool,
}

/// Answers.
pub async fn handle(ctx: &RequestContext, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let view = View {
        synonyms: request.include_synonyms,
        documentation: ctx.api_version >= 3 && request.include_documentation,
    };
    let results = request.resources.into_iter().map(|resource| {
        let answer = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
            .with_error_message(None);
        match describe(ctx, &resource, view) {
            Ok(configs) => answer.with_configs(configs),
            Err(error) => answer
                .with_error_code(error.code.code())
                .with_error_message(error.wire_message()),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe(
    ctx: &RequestContext,
    resource: &DescribeConfigsResource,
    view: View,
) -> Result<Vec<DescribeConfigsResourceResult>, ApiError> {
    let manager = &ctx.broker.partitions;
    let settings = manager.settings();
    // An empty list of keys means all of them, as null does.
    let keys = resource.configuration_keys.as_deref().filter(|keys| !keys.is_empty());
    let wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| **key == *name));
    let found = ConfigResource::new(resource.resource_type, &resource.resource_name, ctx.broker.node_id)?;
    found.authorize(ctx, Operation::DescribeConfigs)?;
    match found {
        ConfigResource::Topic(name) => {
            let topic = manager.topic(&name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            Ok(topic_configs(&topic, &settings, wanted, view))
        }
        ConfigResource::Broker(name) if name.is_empty() => {
            let set = settings.dynamic("");
            let keys = broker_keys()
                .iter()
                .filter(|key| set.contains_key(key.name) && wanted(key.name));
            Ok(keys
                .map(|key| default_config(key, set.get(key.name).cloned(), view))
                .collect())
        }
        ConfigResource::Broker(_) => {
            let keys = broker_keys().iter().filter(|key| wanted(key.name));
            Ok(keys.map(|key| broker_config(key, &settings.config, view)).collect())
        }
        ConfigResource::Group(name) => {
            let own = ctx.broker.partitions.group_configs.of(&name);
            Ok(group_configs(&own, &settings.config, wanted, view))
        }
        ConfigResource::ClientMetrics(name) => {
            let own = ctx.broker.client_metrics.of(&name);
            Ok(client_metrics_configs(&own, wanted, view))
        }
    }
}

/// A group's configs: its own, else the broker's.
fn group_configs(
    own: &Configs,
    broker: &impl BrokerDefaults,
    wanted: impl Fn(&str) -> bool,
    view: View,
) -> Vec<DescribeConfigsResourceResult> {
    let keys = GROUP_CONFIG_KEYS.iter().filter(|key| wanted(key.name));
    keys.map(|key| {
        let mut values = own_value(own, key.name, ConfigSource::Group);
        if let Some(of_broker) = broker_key(key.broker_key) {
            values.extend(broker_values(of_broker, broker));
        }
        resource_config(key.name, key.config_type, values, key.documentation, view)
    })
    .collect()
}

fn client_metrics_configs(
    own: &Configs,
    wanted: impl Fn(&str) -> bool,
    view: View,
) -> Vec<DescribeConfigsResourceResult> {
    let keys = CLIENT_METRICS_KEYS.iter().filter(|key| wanted(key.name));
    keys.map(|key| {
        let mut values = own_value(own, key.name, ConfigSource::ClientMetrics);
        values.push(SynonymValue {
            name: key.name.to_owned(),
            value: key.default.to_owned(),
            source: ConfigSource::Default,
        });
        resource_config(key.name, key.config_type, values, key.documentation, view)
    })
    .collect()
}

/// What a resource itself has for a key: one value or none.
fn own_value(own: &Configs, name: &str, source: ConfigSource) -> Vec<SynonymValue> {
    let value = own.get(name).map(|value| SynonymValue {
        name: name.to_owned(),
        value: value.clone(),
        source,
    });
    value.into_iter().collect()
}

/// A key with all that sets it, the strongest first.
fn resource_config(
    name: &'static str,
    config_type: ConfigType,
    values: Vec<SynonymValue>,
    documentation: &'static str,
    view: View,
) -> DescribeConfigsResourceResult {
    let (value, source) = match values.first() {
        Some(first) => (Some(StrBytes::from_string(first.value.clone())), first.source),
        None => (None, ConfigSource::Default),
    };
    let list = if view.synonyms { values } else { Vec::new() };
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(name))
        .with_value(value)
        .with_config_source(source as i8)
        .with_synonyms(list.into_iter().map(synonym).collect())
        .with_config_type(config_type as i8)
        .with_documentation(view.documentation.then(|| StrBytes::from_static_str(documentation)))
}

fn topic_configs(
    topic: &Topic,
    settings: &BrokerSettings,
    wanted: impl Fn(&str) -> bool,
    view: View,
) -> Vec<DescribeConfigsResourceResult> {
    let keys = TOPIC_CONFIG_KEYS.iter().filter(|key| wanted(key.name));
    keys.map(|key| {
        let value = effective(key, &topic.configs, &settings.config);
        let list = if view.synonyms {
            synonyms(key, &topic.configs, &settings.config)
        } else {
            Vec::new()
        };
        DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str(key.name))
            .with_value(Some(StrBytes::from_string(value.value)))
            .with_config_source(value.source as i8)
            .with_synonyms(list.into_iter().map(synonym).collect())
            .with_config_type(key.config_type as i8)
            .with_documentation(view.documentation.then(|| StrBytes::from_static_str(key.documentation)))
    })
    .collect()
}

/// All that sets a broker key, the strongest first, its default last.
fn broker_values(key: &KeySpec, config: &impl BrokerDefaults) -> Vec<SynonymValue> {
    let mut values: Vec<SynonymValue> = config
        .set_values(key.name)
        .into_iter()
        .map(|(value, source)| SynonymValue {
            name: key.name.to_owned(),
            value,
            source,
        })
        .collect();
    if let Some(default) = key.default {
        let value = default.to_owned();
        values.push(SynonymValue {
            name: key.name.to_owned(),
            value,
            source: ConfigSource::Default,
        });
    }
    values
}

/// A key of this broker: the strongest value that is set, else its default.
fn broker_config(key: &KeySpec, config: &impl BrokerDefaults, view: View) -> DescribeConfigsResourceResult {
    let values = broker_values(key, config);
    let (value, source) = match values.first() {
        Some(first) => (Some(first.value.clone()), first.source),
        None => (None, ConfigSource::Default),
    };
    let answer = common(key, view).with_config_source(source as i8);
    if key.sensitive {
        return answer.with_value(None);
    }
    let list = if view.synonyms {
        values.into_iter().map(synonym).collect()
    } else {
        Vec::new()
    };
    answer.with_value(value.map(StrBytes::from_string)).with_synonyms(list)
}

/// A key that is set for all brokers.
fn default_config(key: &KeySpec, value: Option<String>, view: View) -> DescribeConfigsResourceResult {
    let source = ConfigSource::DynamicDefaultBroker;
    let answer = common(key, view).with_config_source(source as i8);
    if key.sensitive {
        return answer.with_value(None);
    }
    let list = match &value {
        Some(value) if view.synonyms => {
            vec![synonym(SynonymValue {
                name: key.name.to_owned(),
                value: value.clone(),
                source,
            })]
        }
        _ => Vec::new(),
    };
    answer.with_value(value.map(StrBytes::from_string)).with_synonyms(list)
}

fn common(key: &KeySpec, view: View) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(key.name))
        .with_read_only(key.update == UpdateMode::ReadOnly)
        .with_is_sensitive(key.sensitive)
        .with_config_type(key.value_type.code())
        .with_documentation(view.documentation.then(|| StrBytes::from_static_str(key.doc)))
}

fn synonym(value: SynonymValue) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym::default()
        .with_name(StrBytes::from_string(value.name))
        .with_value(Some(StrBytes::from_string(value.value)))
        .with_source(value.source as i8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Check, ValueType};

    struct Set(Vec<(String, ConfigSource)>);

    impl BrokerDefaults for Set {
        fn set_values(&self, _: &str) -> Vec<(String, ConfigSource)> {
            self.0.clone()
        }
    }

    const KEY: KeySpec = KeySpec {
        name: "a.key",
        value_type: ValueType::Int,
        default: Some("1"),
        check: Check::Any,
        unit: "",
        doc: "What it does.",
        update: UpdateMode::Dynamic,
        sensitive: false,
    };
    const ALL: View = View {
        synonyms: true,
        documentation: true,
    };

    #[test]
    fn broker_values_come_with_source_and_synonyms() {
        // contract 66
        let set = Set(vec![
            ("3".to_owned(), ConfigSource::DynamicBroker),
            ("2".to_owned(), ConfigSource::StaticBroker),
        ]);
        let described = broker_config(&KEY, &set, ALL);
        assert_eq!((described.value.as_deref(), described.config_source), (Some("3"), 2));
        let sources: Vec<_> = described.synonyms.iter().map(|synonym| synonym.source).collect();
        assert_eq!(sources, [2, 4, 5]);
        let described = broker_config(&KEY, &Set(Vec::new()), ALL);
        assert_eq!((described.value.as_deref(), described.config_source), (Some("1"), 5));
        assert!(!described.read_only && described.documentation.is_some());
        let unset = KeySpec { default: None, ..KEY };
        assert_eq!(broker_config(&unset, &Set(Vec::new()), ALL).value, None);
    }

    #[test]
    fn a_groups_own_value_comes_before_the_brokers() {
        // contract 66
        let own = Configs::from([("consumer.session.timeout.ms".to_owned(), "50000".to_owned())]);
        let set = Set(vec![("48000".to_owned(), ConfigSource::StaticBroker)]);
        let described = group_configs(&own, &set, |_| true, ALL);
        let seen: Vec<_> = described
            .iter()
            .map(|config| {
                let sources: Vec<_> = config.synonyms.iter().map(|synonym| synonym.source).collect();
                (
                    config.name.as_str(),
                    config.value.as_deref(),
                    config.config_source,
                    sources,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("consumer.heartbeat.interval.ms", Some("48000"), 4, vec![4, 5]),
                ("consumer.session.timeout.ms", Some("50000"), 8, vec![8, 4, 5]),
            ]
        );
        let described = client_metrics_configs(&Configs::new(), |name| name == "interval.ms", ALL);
        assert_eq!(described.len(), 1);
        let default = &described[0];
        assert_eq!((default.value.as_deref(), default.config_source), (Some("300000"), 5));
    }

    #[test]
    fn sensitive_values_are_never_shown() {
        // contract 66
        let key = KeySpec { sensitive: true, ..KEY };
        let set = Set(vec![("secret".to_owned(), ConfigSource::StaticBroker)]);
        let described = broker_config(&key, &set, ALL);
        assert!(described.value.is_none() && described.synonyms.is_empty() && described.is_sensitive);
        let described = default_config(&key, Some("secret".to_owned()), ALL);
        assert!(described.value.is_none() && described.synonyms.is_empty());
    }
}
