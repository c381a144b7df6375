//! Producer ids for idempotent producers: handed out from blocks that the metadata store made ours for ever
//! (contract 89). A block that was not used up when the broker stopped is lost, so that no id is given twice.

use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use storage::metadata::MetadataStore;

/// Ids of one block: a synchronous write a thousand producers.
const BLOCK_IDS: i64 = 1000;

/// Hands out producer ids.
pub struct ProducerIds {
    metadata: Arc<dyn MetadataStore>,
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// Starts without a block; the first one is taken when the first id is asked for.
    pub fn new(metadata: Arc<dyn MetadataStore>) -> ProducerIds {
        ProducerIds {
            metadata,
            block: Mutex::new(0..0),
        }
    }

    /// An id that nobody has had. `None` from [`ProducerIds::next_of_block`] leads here: fetches a block. Blocks on the disk.
    pub fn next_blocking(&self) -> storage::Result<i64> {
        let mut block = self.block.lock();
        if let Some(id) = block.next() {
            return Ok(id);
        }
        *block = self.metadata.allocate_producer_ids(BLOCK_IDS)?;
        block
            .next()
            .ok_or_else(|| storage::Error::new(storage::ErrorKind::Io, "the metadata store gave no producer ids"))
    }

    /// The next id if the block has one left and nobody is fetching the next; never blocks.
    pub fn next_of_block(&self) -> Option<i64> {
        self.block.try_lock()?.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::types::TopicId;
    use std::collections::{BTreeMap, HashSet};
    use storage::metadata::{ConfigKind, FinalizedFeatures, TopicRecord};
    use storage::{Error, ErrorKind, Result};

    /// Gives blocks one after the other, or none.
    struct Blocks(Mutex<(i64, bool)>);

    impl MetadataStore for Blocks {
        fn cluster_id(&self) -> String {
            String::new()
        }
        fn directory_id(&self) -> TopicId {
            TopicId::ZERO
        }
        fn topics(&self) -> Result<Vec<TopicRecord>> {
            Ok(Vec::new())
        }
        fn create_topics(&self, _: &[TopicRecord]) -> Result<()> {
            Ok(())
        }
        fn update_topic(&self, _: &TopicRecord) -> Result<()> {
            Ok(())
        }
        fn delete_topic(&self, _: TopicId) -> Result<()> {
            Ok(())
        }
        fn broker_configs(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
            Ok(BTreeMap::new())
        }
        fn resource_configs(&self, _: ConfigKind) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
            Ok(BTreeMap::new())
        }
        fn set_resource_configs(&self, _: ConfigKind, _: &str, _: &BTreeMap<String, String>) -> Result<()> {
            Ok(())
        }
        fn features(&self) -> Result<Option<FinalizedFeatures>> {
            Ok(None)
        }
        fn set_features(&self, levels: &BTreeMap<String, i16>) -> Result<FinalizedFeatures> {
            Ok(FinalizedFeatures {
                epoch: 0,
                levels: levels.clone(),
            })
        }
        fn set_broker_configs(&self, _: &str, _: &BTreeMap<String, String>) -> Result<()> {
            Ok(())
        }
        fn allocate_producer_ids(&self, count: i64) -> Result<Range<i64>> {
            let mut state = self.0.lock();
            if state.1 {
                return Err(Error::new(ErrorKind::Io, "planted"));
            }
            state.0 += count;
            Ok(state.0 - count..state.0)
        }
    }

    #[test]
    fn ids_never_repeat_across_blocks() {
        // contract 89
        let ids = ProducerIds::new(Arc::new(Blocks(Mutex::new((0, false)))));
        assert_eq!(ids.next_of_block(), None, "no block before the first id");
        let mut seen = HashSet::new();
        for _ in 0..2 * BLOCK_IDS + 1 {
            let id = ids
                .next_of_block()
                .unwrap_or_else(|| ids.next_blocking().expect("a block"));
            assert!(seen.insert(id), "{id} came twice");
        }
    }

    #[test]
    fn a_block_that_cannot_be_had_is_an_error_and_not_an_id() {
        let store = Arc::new(Blocks(Mutex::new((7, true))));
        let ids = ProducerIds::new(Arc::clone(&store) as Arc<dyn MetadataStore>);
        assert_eq!(ids.next_blocking().expect_err("planted").kind, ErrorKind::Io);
        store.0.lock().1 = false;
        assert_eq!(ids.next_blocking().expect("a block"), 7);
    }
}
