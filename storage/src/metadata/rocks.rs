//! The metadata store in the index's own RocksDB: its column family `metadata`, every write synchronous.
//!
//! What lives here: the rows and the memory copy that reads are answered from. What never does: rules about names,
//! counts or config values; those are the broker's. Keys are words (`topic/` and the id, …); values start with a
//! version byte, followed by JSON, or by a big-endian number. `storage/FORMAT.md` has the table.

use super::{ConfigKind, FinalizedFeatures, MetadataStore, TopicRecord};
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Cf, Index, IndexBatch, rows};
use parking_lot::Mutex;
use protocol::types::TopicId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

/// Version byte of the JSON values.
const JSON_VERSION: u8 = 1;
/// Version byte of an id's value.
const ID_VERSION: u8 = 1;

const CLUSTER_ID_KEY: &[u8] = b"cluster_id";
const TOPIC_PREFIX: &[u8] = b"topic/";
const TOMBSTONE_PREFIX: &[u8] = b"tombstone/";
const BROKER_CONFIG_PREFIX: &[u8] = b"broker_config/";
const GROUP_CONFIG_PREFIX: &[u8] = b"group_config/";
const CLIENT_METRICS_CONFIG_PREFIX: &[u8] = b"client_metrics_config/";
const FEATURES_KEY: &[u8] = b"features";
const NEXT_PRODUCER_ID_KEY: &[u8] = b"next_producer_id";
const NEXT_LEADER_EPOCH_KEY: &[u8] = b"next_leader_epoch";

/// Configs by resource name.
type ConfigsByName = BTreeMap<String, BTreeMap<String, String>>;

const fn prefix_of(kind: ConfigKind) -> &'static [u8] {
    match kind {
        ConfigKind::Group => GROUP_CONFIG_PREFIX,
        ConfigKind::ClientMetrics => CLIENT_METRICS_CONFIG_PREFIX,
    }
}

/// The metadata store of one data directory.
pub(crate) struct RocksMetadata {
    index: Arc<Index>,
    cluster_id: TopicId,
    /// Held across the write of a change, so that memory and rows have one order.
    state: Mutex<State>,
}

/// A copy of the rows.
struct State {
    topics: HashMap<TopicId, TopicRecord>,
    ids_by_name: HashMap<String, TopicId>,
    tombstones: BTreeSet<TopicId>,
    broker_configs: ConfigsByName,
    resource_configs: BTreeMap<ConfigKind, ConfigsByName>,
    features: Option<FinalizedFeatures>,
    next_producer_id: u64,
    next_leader_epoch: u64,
    /// What a failed write concerned, as it was before. RocksDB may have logged such a write although it failed, and
    /// would come back with it: the next write takes it back.
    undo: Rows,
}

/// Rows to write; `None` removes one.
type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl RocksMetadata {
    /// Reads what is there, and makes the cluster id when it is not.
    pub(crate) fn new(index: Arc<Index>) -> Result<RocksMetadata> {
        let cluster_id = cluster_id(&index)?;
        let state = State::load(&index)?;
        Ok(RocksMetadata {
            index,
            cluster_id,
            state: Mutex::new(state),
        })
    }

    /// Topics that were deleted and whose journal entries may still be there (engine rule 10).
    pub(crate) fn tombstones(&self) -> Vec<TopicId> {
        self.state.lock().tombstones.iter().copied().collect()
    }

    /// Removes a tombstone: nothing on disk names the topic any more. Fine when there is none.
    pub(crate) fn forget_tombstone(&self, id: TopicId) -> Result<()> {
        let mut state = self.state.lock();
        self.write(&mut state, Rows::from([(key_of(TOMBSTONE_PREFIX, &id.0), None)]))?;
        state.tombstones.remove(&id);
        Ok(())
    }

    /// The leader epoch of this start: 0 for a new directory, then one more each time (contract 21). Durable when it
    /// returns, so that no epoch is given out twice.
    pub(crate) fn next_leader_epoch(&self) -> Result<i32> {
        let mut state = self.state.lock();
        let epoch = i32::try_from(state.next_leader_epoch)
            .map_err(|_| Error::new(ErrorKind::Corrupt, "the metadata store's leader epochs are used up"))?;
        let next = state.next_leader_epoch + 1;
        self.put_counter(&mut state, NEXT_LEADER_EPOCH_KEY, next)?;
        state.next_leader_epoch = next;
        Ok(epoch)
    }

    fn put_counter(&self, state: &mut State, key: &[u8], counter: u64) -> Result<()> {
        self.write(state, Rows::from([(key.to_vec(), Some(rows::encode_counter(counter)))]))
    }

    /// Writes all rows or none, durably. When it fails, the rows are as they were before.
    fn write(&self, state: &mut State, rows: Rows) -> Result<()> {
        // The new rows win over those that are taken back.
        let mut all = state.undo.clone();
        all.extend(rows);
        let mut batch = IndexBatch::new();
        for (key, value) in &all {
            match value {
                Some(value) => batch.put(Cf::Metadata, key.clone(), value.clone()),
                None => batch.delete(Cf::Metadata, key.clone()),
            }
        }
        match self.index.write(batch, true) {
            Ok(()) => state.undo.clear(),
            Err(e) => {
                for key in all
                    .into_keys()
                    .filter(|key| !state.undo.contains_key(key))
                    .collect::<Vec<_>>()
                {
                    // A failed write is not seen by reads, so that this is the row before it.
                    let before = self.index.get(Cf::Metadata, &key)?;
                    state.undo.insert(key, before);
                }
                return Err(e);
            }
        }
        Ok(())
    }
}

impl MetadataStore for RocksMetadata {
    fn cluster_id(&self) -> String {
        self.cluster_id.to_string()
    }

    fn directory_id(&self) -> TopicId {
        self.cluster_id
    }

    fn topics(&self) -> Result<Vec<TopicRecord>> {
        Ok(self.state.lock().topics.values().cloned().collect())
    }

    fn create_topics(&self, topics: &[TopicRecord]) -> Result<()> {
        let mut state = self.state.lock();
        let mut rows = Rows::new();
        let mut names = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for topic in topics {
            if state.ids_by_name.contains_key(&topic.name) || !names.insert(&topic.name) {
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    format!("a topic named {} is there", topic.name),
                ));
            }
            let used = state.topics.contains_key(&topic.id) || state.tombstones.contains(&topic.id);
            if used || !ids.insert(topic.id) {
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    format!("a topic with id {} was there", topic.id),
                ));
            }
            rows.insert(key_of(TOPIC_PREFIX, &topic.id.0), Some(encode_json(topic)?));
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.write(&mut state, rows)?;
        for topic in topics {
            state.ids_by_name.insert(topic.name.clone(), topic.id);
            state.topics.insert(topic.id, topic.clone());
        }
        Ok(())
    }

    fn update_topic(&self, topic: &TopicRecord) -> Result<()> {
        let mut state = self.state.lock();
        // A name belongs to an id as long as the topic lives.
        if state.topics.get(&topic.id).is_none_or(|live| live.name != topic.name) {
            let message = format!("there is no topic {} with id {}", topic.name, topic.id);
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        self.write(
            &mut state,
            Rows::from([(key_of(TOPIC_PREFIX, &topic.id.0), Some(encode_json(topic)?))]),
        )?;
        state.topics.insert(topic.id, topic.clone());
        Ok(())
    }

    fn delete_topic(&self, id: TopicId) -> Result<()> {
        let mut state = self.state.lock();
        let Some(topic) = state.topics.get(&id) else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no topic with id {id}"),
            ));
        };
        let name = topic.name.clone();
        let topic_row = (key_of(TOPIC_PREFIX, &id.0), None);
        let tombstone_row = (key_of(TOMBSTONE_PREFIX, &id.0), Some(vec![ID_VERSION]));
        self.write(&mut state, Rows::from([topic_row, tombstone_row]))?;
        state.topics.remove(&id);
        state.ids_by_name.remove(&name);
        state.tombstones.insert(id);
        Ok(())
    }

    fn broker_configs(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        Ok(self.state.lock().broker_configs.clone())
    }

    fn set_broker_configs(&self, resource: &str, configs: &BTreeMap<String, String>) -> Result<()> {
        let mut state = self.state.lock();
        self.write(&mut state, configs_row(BROKER_CONFIG_PREFIX, resource, configs)?)?;
        replace_configs(&mut state.broker_configs, resource, configs);
        Ok(())
    }

    fn resource_configs(&self, kind: ConfigKind) -> Result<ConfigsByName> {
        Ok(self
            .state
            .lock()
            .resource_configs
            .get(&kind)
            .cloned()
            .unwrap_or_default())
    }

    fn set_resource_configs(&self, kind: ConfigKind, name: &str, configs: &BTreeMap<String, String>) -> Result<()> {
        let mut state = self.state.lock();
        self.write(&mut state, configs_row(prefix_of(kind), name, configs)?)?;
        replace_configs(state.resource_configs.entry(kind).or_default(), name, configs);
        Ok(())
    }

    fn features(&self) -> Result<Option<FinalizedFeatures>> {
        Ok(self.state.lock().features.clone())
    }

    fn set_features(&self, levels: &BTreeMap<String, i16>) -> Result<FinalizedFeatures> {
        let mut state = self.state.lock();
        let features = FinalizedFeatures {
            epoch: state.features.as_ref().map_or(0, |before| before.epoch + 1),
            levels: levels.clone(),
        };
        self.write(
            &mut state,
            Rows::from([(FEATURES_KEY.to_vec(), Some(encode_json(&features)?))]),
        )?;
        state.features = Some(features.clone());
        Ok(features)
    }

    fn allocate_producer_ids(&self, count: i64) -> Result<Range<i64>> {
        assert!(count > 0, "a block of producer ids is not empty");
        let mut state = self.state.lock();
        let used_up = || Error::new(ErrorKind::Corrupt, "the metadata store's producer ids are used up");
        let first = i64::try_from(state.next_producer_id).map_err(|_| used_up())?;
        let end = first.checked_add(count).ok_or_else(used_up)?;
        self.put_counter(&mut state, NEXT_PRODUCER_ID_KEY, end as u64)?;
        state.next_producer_id = end as u64;
        Ok(first..end)
    }
}

impl State {
    fn load(index: &Index) -> Result<State> {
        let mut state = State {
            topics: HashMap::new(),
            ids_by_name: HashMap::new(),
            tombstones: BTreeSet::new(),
            broker_configs: load_configs(index, BROKER_CONFIG_PREFIX)?,
            resource_configs: BTreeMap::new(),
            features: None,
            next_producer_id: load_counter(index, NEXT_PRODUCER_ID_KEY)?,
            next_leader_epoch: load_counter(index, NEXT_LEADER_EPOCH_KEY)?,
            undo: Rows::new(),
        };
        for (key, value) in index.rows_with_prefix(Cf::Metadata, TOPIC_PREFIX)? {
            let topic: TopicRecord = decode_json(&key, &value)?;
            if key != key_of(TOPIC_PREFIX, &topic.id.0) {
                return Err(bad_row(&key, "the topic's id is not that of its key"));
            }
            if state.ids_by_name.insert(topic.name.clone(), topic.id).is_some() {
                return Err(bad_row(&key, "two topics have one name"));
            }
            state.topics.insert(topic.id, topic);
        }
        for (key, value) in index.rows_with_prefix(Cf::Metadata, TOMBSTONE_PREFIX)? {
            let id = key.strip_prefix(TOMBSTONE_PREFIX).and_then(|id| id.try_into().ok());
            match (id, value.as_slice()) {
                (Some(id), [ID_VERSION]) => state.tombstones.insert(TopicId(id)),
                _ => return Err(bad_row(&key, "it is no tombstone")),
            };
        }
        for kind in [ConfigKind::Group, ConfigKind::ClientMetrics] {
            state
                .resource_configs
                .insert(kind, load_configs(index, prefix_of(kind))?);
        }
        if let Some(value) = index.get(Cf::Metadata, FEATURES_KEY)? {
            state.features = Some(decode_json(FEATURES_KEY, &value)?);
        }
        Ok(state)
    }
}

/// All config rows with that prefix.
fn load_configs(index: &Index, prefix: &[u8]) -> Result<ConfigsByName> {
    let mut configs = ConfigsByName::new();
    for (key, value) in index.rows_with_prefix(Cf::Metadata, prefix)? {
        let name = key.strip_prefix(prefix).and_then(|name| std::str::from_utf8(name).ok());
        let name = name.ok_or_else(|| bad_row(&key, "its name is not UTF-8"))?;
        configs.insert(name.to_owned(), decode_json(&key, &value)?);
    }
    Ok(configs)
}

/// The row of a resource's configs; none when nothing is set.
fn configs_row(prefix: &[u8], name: &str, configs: &BTreeMap<String, String>) -> Result<Rows> {
    let value = if configs.is_empty() {
        None
    } else {
        Some(encode_json(configs)?)
    };
    Ok(Rows::from([(key_of(prefix, name.as_bytes()), value)]))
}

fn replace_configs(all: &mut ConfigsByName, name: &str, configs: &BTreeMap<String, String>) {
    if configs.is_empty() {
        all.remove(name);
    } else {
        all.insert(name.to_owned(), configs.clone());
    }
}

/// Reads the cluster's id, or makes it.
fn cluster_id(index: &Index) -> Result<TopicId> {
    if let Some(value) = index.get(Cf::Metadata, CLUSTER_ID_KEY)? {
        return match value.split_first() {
            Some((&ID_VERSION, id)) if id.len() == 16 => {
                Ok(TopicId(id.try_into().expect("the line above checks the length")))
            }
            _ => Err(bad_row(CLUSTER_ID_KEY, "it is no id")),
        };
    }
    let id = random_id()?;
    let mut value = vec![ID_VERSION];
    value.extend_from_slice(&id.0);
    let mut batch = IndexBatch::new();
    batch.put(Cf::Metadata, CLUSTER_ID_KEY.to_vec(), value);
    index.write(batch, true)?;
    Ok(id)
}

/// A random UUID (version 4) as Kafka makes them: none whose text starts with `-`, which command lines take for a flag.
fn random_id() -> Result<TopicId> {
    let failed = |e| Error::io("reading /dev/urandom", e);
    let mut random = std::fs::File::open("/dev/urandom").map_err(failed)?;
    loop {
        let mut id = [0; 16];
        random.read_exact(&mut id).map_err(failed)?;
        id[6] = (id[6] & 0x0f) | 0x40;
        id[8] = (id[8] & 0x3f) | 0x80;
        let id = TopicId(id);
        if !id.to_string().starts_with('-') {
            return Ok(id);
        }
    }
}

fn load_counter(index: &Index, key: &[u8]) -> Result<u64> {
    let Some(value) = index.get(Cf::Metadata, key)? else {
        return Ok(0);
    };
    rows::decode_counter(&value).map_err(|e| bad_row(key, e.0))
}

fn key_of(prefix: &[u8], rest: &[u8]) -> Vec<u8> {
    [prefix, rest].concat()
}

fn encode_json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut out = vec![JSON_VERSION];
    serde_json::to_writer(&mut out, value).map_err(|e| Error {
        source: Some(Box::new(e)),
        ..Error::new(ErrorKind::Io, "a row of the metadata store cannot be written as JSON")
    })?;
    Ok(out)
}

fn decode_json<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T> {
    match value.split_first() {
        Some((&JSON_VERSION, json)) => serde_json::from_slice(json).map_err(|e| Error {
            source: Some(Box::new(e)),
            ..bad_row(key, "its JSON cannot be read")
        }),
        _ => Err(bad_row(key, "its version is unknown")),
    }
}

fn bad_row(key: &[u8], reason: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("row {} of the metadata store: {reason}", key.escape_ascii()),
    )
}

#[cfg(test)]
#[path = "rocks_tests.rs"]
mod tests;
