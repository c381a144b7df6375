//! The catalog of topics and their logs: what exists, under which name and id, with which settings.
//!
//! Reading it is a hash look-up under a read lock that nobody holds for long. Changing it goes metadata store first
//! (durable), then logs, then catalog, one change at a time; those functions block on the disk and say so.
//! What never lives here: wire formats, bytes on disk.

mod groups;
mod settings;
mod topic;

pub use settings::BrokerSettings;
pub use topic::{CONSUMER_OFFSETS, INTERNAL_TOPICS, Topic, check_topic_name, is_internal};

use crate::config::BrokerConfig;
use crate::config::topic::{TopicSettings, validate_topic_configs};
use crate::errors::ApiError;
use crate::resource_configs::ResourceConfigs;
use kafka_protocol::protocol::StrBytes;
use parking_lot::{Mutex, RwLock};
use protocol::ErrorCode;
use protocol::types::TopicId;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use storage::metadata::{MetadataStore, TopicRecord};
use storage::{Engine, Log};
use tokio::sync::watch;
use topic::collision_form;

/// A topic to be made.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its name; checked here.
    pub name: String,
    /// How many partitions; 1 at least.
    pub partitions: i32,
    /// As asked for.
    pub replication_factor: i16,
    /// Its own configs; checked here.
    pub configs: BTreeMap<String, String>,
}

#[derive(Default)]
struct Catalog {
    by_name: HashMap<StrBytes, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
    /// Collision form → name, of names that have one.
    collisions: HashMap<String, StrBytes>,
    partitions: usize,
}

impl Catalog {
    fn put(&mut self, topic: Arc<Topic>) {
        if let Some(old) = self.by_id.insert(topic.id, Arc::clone(&topic)) {
            self.partitions -= old.logs.len();
        }
        self.partitions += topic.logs.len();
        if let Some(form) = collision_form(&topic.name) {
            self.collisions.insert(form, topic.name.clone());
        }
        self.by_name.insert(topic.name.clone(), topic);
    }

    fn remove(&mut self, topic: &Topic) {
        if let Some(old) = self.by_id.remove(&topic.id) {
            self.partitions -= old.logs.len();
            self.by_name.remove(&old.name);
            if let Some(form) = collision_form(&old.name) {
                self.collisions.remove(&form);
            }
        }
    }
}

/// Told of each topic that is deleted, when the catalog no longer has it.
pub type OnDelete = Box<dyn Fn(&Topic) + Send + Sync>;

/// What became of a creation.
type Creation = Result<Arc<Topic>, ApiError>;

/// The catalog.
pub struct PartitionManager {
    engine: Arc<Engine>,
    metadata: Arc<dyn MetadataStore>,
    /// Configuration of the start.
    at_start: BrokerConfig,
    catalog: RwLock<Catalog>,
    /// What was set for broker keys, at the start and since.
    settings: RwLock<Arc<BrokerSettings>>,
    /// Held by whoever changes anything; only on threads that may block.
    change: Mutex<()>,
    /// Automatic creations under way (contract 18).
    creating: Mutex<HashMap<String, watch::Receiver<Option<Creation>>>>,
    /// Grows with each topic made, grown or deleted.
    version: AtomicU64,
    /// Configs of consumer groups.
    pub group_configs: ResourceConfigs,
    on_delete: OnceLock<OnDelete>,
}

impl PartitionManager {
    /// Loads all topics and gives every log its settings. Blocks.
    pub fn open(engine: Arc<Engine>, config: &BrokerConfig) -> storage::Result<PartitionManager> {
        let metadata = Arc::clone(engine.metadata());
        let settings = BrokerSettings::new(config, metadata.broker_configs()?);
        let mut catalog = Catalog::default();
        let shared = Arc::new(TopicSettings::new(&BTreeMap::new(), &settings.config));
        let no_configs = Arc::new(BTreeMap::new());
        for record in metadata.topics()? {
            let own = if record.configs.is_empty() {
                (Arc::clone(&no_configs), Arc::clone(&shared))
            } else {
                let effective = TopicSettings::new(&record.configs, &settings.config);
                (Arc::new(record.configs.clone()), Arc::new(effective))
            };
            let logs = open_logs(&engine, &record, &own.1)?;
            catalog.put(Arc::new(Topic {
                id: record.id,
                name: StrBytes::from_string(record.name),
                replication_factor: record.replication_factor,
                configs: own.0,
                settings: own.1,
                logs,
                metrics: OnceLock::new(),
            }));
        }
        Ok(PartitionManager {
            group_configs: ResourceConfigs::of_groups(&metadata, config)?,
            engine,
            metadata,
            at_start: config.clone(),
            catalog: RwLock::new(catalog),
            settings: RwLock::new(Arc::new(settings)),
            change: Mutex::new(()),
            creating: Mutex::new(HashMap::new()),
            version: AtomicU64::new(0),
            on_delete: OnceLock::new(),
        })
    }

    /// Says who is told of deletions; once, before there are any.
    pub fn on_delete(&self, told: OnDelete) {
        assert!(self.on_delete.set(told).is_ok(), "one coordinator hears of deletions");
    }

    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.catalog.read().by_name.get(name.as_bytes()).cloned()
    }

    /// The topic of that id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.catalog.read().by_id.get(&id).cloned()
    }

    /// All topics, sorted by name.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        let mut topics: Vec<_> = self.catalog.read().by_id.values().cloned().collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    /// How many topics and partitions there are.
    pub fn counts(&self) -> (usize, usize) {
        let catalog = self.catalog.read();
        (catalog.by_id.len(), catalog.partitions)
    }

    /// What is set for broker keys now.
    pub fn settings(&self) -> Arc<BrokerSettings> {
        Arc::clone(&self.settings.read())
    }

    /// Makes topics, each on its own: one that fails does not hinder the others. With `validate_only` all is checked
    /// and nothing made; the topics returned then have no logs. They exist, durably, when it returns. Blocks.
    pub fn create(&self, topics: Vec<NewTopic>, validate_only: bool) -> Vec<Creation> {
        let _change = self.change.lock();
        let settings = self.settings();
        let mut partitions_free = self.at_start.max_partitions.saturating_sub(self.counts().1);
        let mut taken: HashMap<String, String> = HashMap::new();
        let mut results = Vec::with_capacity(topics.len());
        let mut records = Vec::with_capacity(topics.len());
        for topic in topics {
            let checked = self.check_new(&topic, &taken, partitions_free, &settings);
            results.push(checked.map(|()| records.len()));
            if let Some(Ok(_)) = results.last() {
                partitions_free -= topic.partitions as usize;
                taken.insert(
                    collision_form(&topic.name).unwrap_or_else(|| topic.name.clone()),
                    topic.name.clone(),
                );
                records.push(TopicRecord {
                    id: new_topic_id(),
                    name: topic.name,
                    partitions: topic.partitions,
                    replication_factor: topic.replication_factor,
                    configs: topic.configs,
                });
            }
        }
        let made = if validate_only {
            records
                .iter()
                .map(|record| Ok(Arc::new(topic_of(record, &settings, Box::default()))))
                .collect()
        } else {
            self.make(&records, &settings)
        };
        results
            .into_iter()
            .map(|result| result.and_then(|at: usize| made[at].clone()))
            .collect()
    }

    fn check_new(
        &self,
        topic: &NewTopic,
        taken: &HashMap<String, String>,
        partitions_free: usize,
        settings: &BrokerSettings,
    ) -> Result<(), ApiError> {
        check_topic_name(&topic.name).map_err(|text| ApiError::new(ErrorCode::InvalidTopicException, text))?;
        let form = collision_form(&topic.name);
        {
            let catalog = self.catalog.read();
            let twice = form.is_none() && taken.contains_key(&topic.name);
            if twice || catalog.by_name.contains_key(topic.name.as_bytes()) {
                let text = format!("Topic '{}' already exists.", topic.name);
                return Err(ApiError::new(ErrorCode::TopicAlreadyExists, text));
            }
            let other = form.as_ref().and_then(|form| {
                catalog
                    .collisions
                    .get(form)
                    .map(|name| name.to_string())
                    .or_else(|| taken.get(form).cloned())
            });
            if let Some(other) = other {
                let text = format!("Topic '{}' collides with existing topic: {other}", topic.name);
                return Err(ApiError::new(ErrorCode::InvalidTopicException, text));
            }
        }
        validate_topic_configs(&topic.configs, &settings.config)
            .map_err(|text| ApiError::new(ErrorCode::InvalidConfig, text))?;
        if usize::try_from(topic.partitions).unwrap_or(usize::MAX) > partitions_free {
            let text = format!(
                "{} partitions are more than the {partitions_free} that max.partitions of this broker leaves",
                topic.partitions
            );
            return Err(ApiError::new(ErrorCode::PolicyViolation, text));
        }
        Ok(())
    }

    fn make(&self, records: &[TopicRecord], settings: &BrokerSettings) -> Vec<Creation> {
        if records.is_empty() {
            return Vec::new();
        }
        if let Err(error) = self.metadata.create_topics(records) {
            let error = ApiError::storage("creating topics", &error);
            return records.iter().map(|_| Err(error.clone())).collect();
        }
        records
            .iter()
            .map(|record| {
                let effective = topic_of(record, settings, Box::default());
                let logs = open_logs(&self.engine, record, &effective.settings).map_err(|error| {
                    // The topic must not be there without logs; the next start would find it otherwise.
                    if let Err(second) = self.metadata.delete_topic(record.id) {
                        tracing::error!(topic = record.name, %second, "a topic whose logs could not be made stays in the metadata");
                    }
                    ApiError::storage("creating logs", &error)
                })?;
                let topic = Arc::new(Topic { logs, ..effective });
                self.catalog.write().put(Arc::clone(&topic));
                self.version.fetch_add(1, Ordering::AcqRel);
                tracing::info!(topic = record.name, id = %record.id, partitions = record.partitions, "topic created");
                Ok(topic)
            })
            .collect()
    }

    /// Makes topics that were named but do not exist, with the broker's defaults. Several callers who want the same
    /// name share one creation (contract 18). Results are in the order of `names`.
    pub async fn auto_create(self: &Arc<Self>, names: Vec<String>) -> Vec<Creation> {
        let settings = self.settings();
        let mut waiting = Vec::with_capacity(names.len());
        let mut ours = Vec::new();
        {
            let mut creating = self.creating.lock();
            for name in names {
                if let Some(receiver) = creating.get(&name) {
                    waiting.push(receiver.clone());
                    continue;
                }
                let (sender, receiver) = watch::channel(None);
                creating.insert(name.clone(), receiver.clone());
                waiting.push(receiver);
                ours.push((automatic_topic(name, &settings.config), sender));
            }
        }
        if !ours.is_empty() {
            let manager = Arc::clone(self);
            tokio::task::spawn_blocking(move || manager.create_awaited(ours));
        }
        let mut results = Vec::with_capacity(waiting.len());
        for mut receiver in waiting {
            results.push(match receiver.wait_for(Option::is_some).await {
                Ok(creation) => creation.clone().unwrap_or_else(|| Err(ApiError::unknown())),
                Err(_) => Err(ApiError::unknown()),
            });
        }
        results
    }

    fn create_awaited(&self, ours: Vec<(NewTopic, watch::Sender<Option<Creation>>)>) {
        /// Frees the names even when creating panics.
        struct Names<'a>(&'a PartitionManager, Vec<String>);
        impl Drop for Names<'_> {
            fn drop(&mut self) {
                let mut creating = self.0.creating.lock();
                for name in &self.1 {
                    creating.remove(name);
                }
            }
        }
        let (topics, senders): (Vec<_>, Vec<_>) = ours.into_iter().unzip();
        let names = Names(self, topics.iter().map(|topic| topic.name.clone()).collect());
        let mut results = self.create(topics, false);
        for (result, name) in results.iter_mut().zip(&names.1) {
            // Made by an explicit request meanwhile: that is what the caller wanted.
            if let Some(topic) = self.topic(name) {
                *result = Ok(topic);
            }
        }
        drop(names);
        for (result, sender) in results.into_iter().zip(senders) {
            sender.send_replace(Some(result));
        }
    }

    /// Removes a topic with all its records. It is gone, durably, when this returns. Blocks.
    pub fn delete(&self, id: TopicId) -> Result<(), ApiError> {
        let _change = self.change.lock();
        let topic = self
            .topic_by_id(id)
            .ok_or_else(|| ApiError::from(ErrorCode::UnknownTopicId))?;
        self.metadata
            .delete_topic(id)
            .map_err(|error| ApiError::storage("deleting a topic", &error))?;
        self.catalog.write().remove(&topic);
        self.version.fetch_add(1, Ordering::AcqRel);
        tracing::info!(topic = &*topic.name, %id, "topic deleted");
        if let Some(told) = self.on_delete.get() {
            told(&topic);
        }
        // The tombstone is durable: files that cannot be removed now go at the next start.
        if let Err(error) = self.engine.delete_logs(id) {
            tracing::error!(topic = &*topic.name, %id, %error, "files of a deleted topic could not be removed");
        }
        Ok(())
    }

    /// Grows a topic to `count` partitions. Blocks.
    pub fn grow(&self, id: TopicId, count: i32, validate_only: bool) -> Result<(), ApiError> {
        let _change = self.change.lock();
        let topic = self
            .topic_by_id(id)
            .ok_or_else(|| ApiError::from(ErrorCode::UnknownTopicOrPartition))?;
        let current = topic.partitions();
        check_growth(&topic.name, current, count)?;
        if &*topic.name == CONSUMER_OFFSETS {
            let text = format!(
                "A group's partition of {CONSUMER_OFFSETS} follows from their number: with more of them, groups would lose their offsets."
            );
            return Err(ApiError::new(ErrorCode::InvalidPartitions, text));
        }
        let free = self.at_start.max_partitions.saturating_sub(self.counts().1);
        if usize::try_from(count - current).unwrap_or(usize::MAX) > free {
            let text =
                format!("{count} partitions are more than max.partitions of this broker allows; {free} are left");
            return Err(ApiError::new(ErrorCode::PolicyViolation, text));
        }
        if validate_only {
            return Ok(());
        }
        let record = TopicRecord {
            partitions: count,
            ..topic.record()
        };
        let failed = |error: storage::Error| ApiError::storage("adding partitions", &error);
        self.metadata.update_topic(&record).map_err(failed)?;
        let logs = open_logs(&self.engine, &record, &topic.settings).map_err(failed)?;
        self.replace(&topic, Arc::clone(&topic.configs), Arc::clone(&topic.settings), logs);
        self.version.fetch_add(1, Ordering::AcqRel);
        tracing::info!(topic = &*topic.name, %id, partitions = count, "partitions added");
        Ok(())
    }

    /// Changes a topic's own configs: `change` gets those in force and gives the new ones. Checked here. Blocks.
    pub fn alter_topic(
        &self,
        name: &str,
        validate_only: bool,
        change: impl FnOnce(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ApiError>,
    ) -> Result<(), ApiError> {
        let _change = self.change.lock();
        let topic = self
            .topic(name)
            .ok_or_else(|| ApiError::from(ErrorCode::UnknownTopicOrPartition))?;
        let configs = change(&topic.configs)?;
        let settings = self.settings();
        validate_topic_configs(&configs, &settings.config)
            .map_err(|text| ApiError::new(ErrorCode::InvalidConfig, text))?;
        if validate_only || configs == *topic.configs {
            return Ok(());
        }
        let effective = Arc::new(TopicSettings::new(&configs, &settings.config));
        let record = TopicRecord {
            configs: configs.clone(),
            ..topic.record()
        };
        self.metadata
            .update_topic(&record)
            .map_err(|error| ApiError::storage("altering a topic", &error))?;
        self.replace(&topic, Arc::new(configs), effective, topic.logs.clone());
        Ok(())
    }

    /// Changes the dynamic configs of a broker resource (`""` or this broker's id): `change` gets those in force and
    /// gives the new ones, which it has checked. They reach every log before this returns. Blocks.
    pub fn alter_broker(
        &self,
        resource: &str,
        validate_only: bool,
        change: impl FnOnce(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ApiError>,
    ) -> Result<(), ApiError> {
        let _change = self.change.lock();
        let current = self.settings();
        let configs = change(current.dynamic(resource))?;
        if validate_only || configs == *current.dynamic(resource) {
            return Ok(());
        }
        self.metadata
            .set_broker_configs(resource, &configs)
            .map_err(|error| ApiError::storage("altering broker configs", &error))?;
        let mut dynamic = current.dynamic.clone();
        dynamic.insert(resource.to_owned(), configs);
        let settings = Arc::new(BrokerSettings::new(&self.at_start, dynamic));
        *self.settings.write() = Arc::clone(&settings);
        for topic in self.topics() {
            let effective = TopicSettings::new(&topic.configs, &settings.config);
            if effective != *topic.settings {
                self.replace(
                    &topic,
                    Arc::clone(&topic.configs),
                    Arc::new(effective),
                    topic.logs.clone(),
                );
            }
        }
        Ok(())
    }

    fn replace(
        &self,
        topic: &Topic,
        configs: Arc<BTreeMap<String, String>>,
        settings: Arc<TopicSettings>,
        logs: Box<[Arc<Log>]>,
    ) {
        if settings.log != topic.settings.log {
            logs.iter().for_each(|log| log.set_config(settings.log.clone()));
        }
        self.catalog.write().put(Arc::new(Topic {
            id: topic.id,
            name: topic.name.clone(),
            replication_factor: topic.replication_factor,
            configs,
            settings,
            logs,
            metrics: OnceLock::new(),
        }));
    }
}

/// A topic that is made because somebody needs it.
fn automatic_topic(name: String, config: &BrokerConfig) -> NewTopic {
    if name == CONSUMER_OFFSETS {
        let segment_bytes = config.offsets_topic_segment_bytes.to_string();
        let configs = [
            ("cleanup.policy", "compact"),
            ("compression.type", "producer"),
            ("segment.bytes", &*segment_bytes),
        ];
        return NewTopic {
            name,
            partitions: config.offsets_topic_num_partitions,
            replication_factor: config.offsets_topic_replication_factor,
            configs: configs.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        };
    }
    NewTopic {
        name,
        partitions: config.num_partitions,
        replication_factor: config.default_replication_factor,
        configs: BTreeMap::new(),
    }
}

/// Whether a topic may grow from `current` to `count` partitions (contract 65).
fn check_growth(name: &str, current: i32, count: i32) -> Result<(), ApiError> {
    if count <= 0 {
        return Err(ApiError::new(
            ErrorCode::InvalidPartitions,
            format!("The topic cannot have {count} partitions."),
        ));
    }
    if count == current {
        let text = format!("Topic already has {current} partition(s).");
        return Err(ApiError::new(ErrorCode::InvalidPartitions, text));
    }
    if count < current {
        let text = format!("The topic {name} currently has {current} partition(s); {count} would not be an increase.");
        return Err(ApiError::new(ErrorCode::InvalidPartitions, text));
    }
    Ok(())
}

fn topic_of(record: &TopicRecord, settings: &BrokerSettings, logs: Box<[Arc<Log>]>) -> Topic {
    Topic {
        id: record.id,
        name: StrBytes::from_string(record.name.clone()),
        replication_factor: record.replication_factor,
        settings: Arc::new(TopicSettings::new(&record.configs, &settings.config)),
        configs: Arc::new(record.configs.clone()),
        logs,
        metrics: OnceLock::new(),
    }
}

/// A topic's logs with its settings; those that are missing are made.
fn open_logs(engine: &Engine, record: &TopicRecord, settings: &TopicSettings) -> storage::Result<Box<[Arc<Log>]>> {
    let mut logs = Vec::with_capacity(usize::try_from(record.partitions).unwrap_or(0));
    for partition in 0..record.partitions {
        match engine.log(record.id, partition) {
            Some(log) => {
                log.set_config(settings.log.clone());
                logs.push(log);
            }
            None => {
                engine.create_logs(record.id, partition..record.partitions, &settings.log)?;
                let made = (partition..record.partitions).map(|partition| {
                    engine.log(record.id, partition).ok_or_else(|| {
                        storage::Error::new(storage::ErrorKind::NotFound, "a log that was just made is not there")
                            .with_log(record.id, partition)
                    })
                });
                for log in made {
                    logs.push(log?);
                }
                break;
            }
        }
    }
    Ok(logs.into_boxed_slice())
}

fn new_topic_id() -> TopicId {
    loop {
        let id = *uuid::Uuid::new_v4().as_bytes();
        // Kafka reserves ids that print with a leading dash, since command lines take them for options.
        if !TopicId(id).to_string().starts_with('-') {
            return TopicId(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_only_grow() {
        // contract 65
        assert!(check_growth("t", 3, 4).is_ok());
        for count in [3, 2, 0, -1, i32::MIN] {
            let refused = check_growth("t", 3, count).expect_err("not an increase");
            assert_eq!(refused.code, ErrorCode::InvalidPartitions);
        }
    }

    #[test]
    fn topic_ids_never_look_like_options() {
        for _ in 0..1000 {
            let id = new_topic_id();
            assert!(!id.is_zero() && !id.to_string().starts_with('-'));
        }
    }
}
