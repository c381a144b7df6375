//! DescribeConfigs (32), versions 1–4: configs of topics and of this broker with source, synonyms, type and description
//! (contract 66). Sensitive values are null. The broker resource `""` lists what is set for all brokers, as in Kafka.

use super::config_changes::ConfigResource;
use crate::config::topic::{BrokerDefaults, ConfigSource, SynonymValue, TOPIC_CONFIG_KEYS, effective, synonyms};
use crate::config::{KeySpec, UpdateMode, broker_keys};
use crate::context::{Operation, RequestContext};
use crate::errors::ApiError;
use crate::partitions::{BrokerSettings, Topic};
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
    }
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

/// A key of this broker: the strongest value that is set, else its default.
fn broker_config(key: &KeySpec, config: &impl BrokerDefaults, view: View) -> DescribeConfigsResourceResult {
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
