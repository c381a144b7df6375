//! A set of changes to the index that take effect together.

use super::Cf;
use super::rows::{self, LogId, Mark, OffsetRow, ProducerRow, SegmentRow, TimeRow};
use protocol::types::{Offset, TopicId};

/// Changes that [`super::Index::write`] makes all or none. Owned and `Send`: built on one thread, written on another.
///
/// **Deletions act on what the index held before the batch; puts come after them, in whatever order they were
/// called.** So a batch that cuts a log and puts its new rows does both.
#[derive(Debug, Default)]
pub(crate) struct IndexBatch {
    pub(super) deletions: Vec<Deletion>,
    pub(super) puts: Vec<Put>,
}

/// A row to write.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) cf: Cf,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// Rows to remove. Those by offset are looked up when the batch is written.
#[derive(Debug)]
pub(super) enum Deletion {
    /// One row.
    Key { cf: Cf, key: Vec<u8> },
    /// All log rows with keys in `from..to`, in every column family of logs.
    Range { from: Vec<u8>, to: Vec<u8> },
    /// Offset, time and segment rows of one log at or past an offset.
    From { log: LogId, offset: Offset },
    /// Offset, time and segment rows of one log below an offset.
    Below { log: LogId, offset: Offset },
}

impl IndexBatch {
    /// An empty batch.
    pub(crate) fn new() -> IndexBatch {
        IndexBatch::default()
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.deletions.is_empty() && self.puts.is_empty()
    }

    /// Sets a log's mark.
    pub(crate) fn put_mark(&mut self, log: LogId, mark: &Mark) {
        self.put(Cf::Marks, log.key().to_vec(), mark.encode());
    }

    /// Sets the row of the segment that starts at `base_offset`.
    pub(crate) fn put_segment(&mut self, log: LogId, base_offset: Offset, row: &SegmentRow) {
        self.put(
            Cf::Segments,
            log.key_with(&rows::offset_suffix(base_offset)),
            row.encode(),
        );
    }

    /// Removes the row of one segment; its offset and time rows stay (see [`IndexBatch::delete_rows_below`]).
    #[cfg(test)]
    pub(crate) fn delete_segment(&mut self, log: LogId, base_offset: Offset) {
        self.delete(Cf::Segments, log.key_with(&rows::offset_suffix(base_offset)));
    }

    /// Says where the batch with base offset `offset` lies.
    pub(crate) fn put_offset(&mut self, log: LogId, offset: Offset, row: &OffsetRow) {
        self.put(
            Cf::OffsetIndex,
            log.key_with(&rows::offset_suffix(offset)),
            row.encode(),
        );
    }

    /// Says which batch of a segment raised the running maximum timestamp to `running_max_timestamp`.
    pub(crate) fn put_time(&mut self, log: LogId, segment_base: Offset, running_max_timestamp: i64, row: &TimeRow) {
        self.put(
            Cf::TimeIndex,
            log.key_with(&rows::time_suffix(segment_base, running_max_timestamp)),
            row.encode(),
        );
    }

    /// Sets what a log remembers of a producer.
    pub(crate) fn put_producer(&mut self, log: LogId, producer_id: i64, row: &ProducerRow) {
        self.put(Cf::Producers, log.key_with(&producer_id.to_be_bytes()), row.encode());
    }

    /// Forgets a producer.
    pub(crate) fn delete_producer(&mut self, log: LogId, producer_id: i64) {
        self.delete(Cf::Producers, log.key_with(&producer_id.to_be_bytes()));
    }

    /// Says where a leader epoch starts.
    pub(crate) fn put_epoch(&mut self, log: LogId, leader_epoch: i32, start_offset: Offset) {
        self.put(
            Cf::Epochs,
            log.key_with(&leader_epoch.to_be_bytes()),
            rows::encode_epoch_start(start_offset),
        );
    }

    /// Forgets a leader epoch.
    #[cfg(test)]
    pub(crate) fn delete_epoch(&mut self, log: LogId, leader_epoch: i32) {
        self.delete(Cf::Epochs, log.key_with(&leader_epoch.to_be_bytes()));
    }

    /// Sets the number of the last checkpoint.
    pub(crate) fn put_checkpoint_sequence(&mut self, sequence: u64) {
        self.put(
            Cf::Metadata,
            super::CHECKPOINT_SEQUENCE_KEY.to_vec(),
            rows::encode_counter(sequence),
        );
    }

    /// Removes every row of a log, its mark included.
    #[cfg(test)]
    pub(crate) fn delete_log(&mut self, log: LogId) {
        self.deletions.push(Deletion::Range {
            from: log.key().to_vec(),
            to: log.key_end(),
        });
    }

    /// Removes every row of every log of a topic. One range a column family, however many partitions there are.
    pub(crate) fn delete_topic_logs(&mut self, topic_id: TopicId) {
        self.deletions.push(Deletion::Range {
            from: topic_id.0.to_vec(),
            to: rows::successor(&topic_id.0),
        });
    }

    /// Removes offset, time and segment rows at or past `offset`: after a cut (engine rule 14). A segment that starts
    /// below `offset` keeps its row, whatever its end: the caller puts a new one. Mark, epochs and producers stay.
    pub(crate) fn delete_rows_from(&mut self, log: LogId, offset: Offset) {
        self.deletions.push(Deletion::From { log, offset });
    }

    /// Removes offset and segment rows below `offset`, and the time rows of segments that start below it: after
    /// segments went. `offset` is the base offset of the first segment that is left.
    pub(crate) fn delete_rows_below(&mut self, log: LogId, offset: Offset) {
        self.deletions.push(Deletion::Below { log, offset });
    }

    /// Any row; for the metadata store, whose keys are its own.
    pub(crate) fn put(&mut self, cf: Cf, key: Vec<u8>, value: Vec<u8>) {
        self.puts.push(Put { cf, key, value });
    }

    /// Any row; for the metadata store.
    pub(crate) fn delete(&mut self, cf: Cf, key: Vec<u8>) {
        self.deletions.push(Deletion::Key { cf, key });
    }
}
