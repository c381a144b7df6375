//! The whole state as records, in chunks: what a checkpoint writes.
//!
//! A chunk is the state at its moment. Records of events lie between chunks in the log, and yet replaying everything since
//! the first chunk gives the state: a group that changes before its chunk is written as it is then, one that changes after
//! it has the change behind the chunk, one that is created meanwhile is there by its own records, and one that is deleted
//! before its chunk is not written at all. So a chunk must be in the log before the records of the next event.

use super::{Machine, Shard};
use crate::groups::offsets::OffsetKey;
use protocol::group_records::GroupRecord;
use std::sync::Arc;

/// Where the next chunk begins. The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotCursor {
    slot: usize,
    /// The group's own records and its offsets up to this one were written.
    after: Option<OffsetKey>,
}

impl Shard {
    /// The next records of the state, and where the chunk after them begins; `None`: that was the last.
    /// At most `records_max` (at least one is taken) offsets and groups; a group's own records are never parted.
    pub fn snapshot_chunk(
        &self,
        mut cursor: SnapshotCursor,
        records_max: usize,
    ) -> (Vec<GroupRecord>, Option<SnapshotCursor>) {
        let records_max = records_max.max(1);
        let mut records = Vec::new();
        while let Some(slot) = self.slots.get(cursor.slot) {
            if records.len() >= records_max {
                return (records, Some(cursor));
            }
            if let Some(entry) = slot {
                if cursor.after.is_none() {
                    if let Machine::Consumer(group) = &entry.machine {
                        group.live_records(&mut records);
                    } else if let Some(written) = &entry.written {
                        records.push(GroupRecord::GroupMetadata {
                            group_id: Arc::clone(&entry.group_id),
                            value: Some((**written).clone()),
                        });
                    }
                }
                for offset in self.tables.iter(&entry.offsets, cursor.after) {
                    // The first offset of a group is never left behind: without it the cursor would not move.
                    if records.len() >= records_max && cursor.after.is_some() {
                        return (records, Some(cursor));
                    }
                    records.push(GroupRecord::OffsetCommit {
                        group_id: Arc::clone(&entry.group_id),
                        topic: Arc::clone(offset.topic),
                        partition: offset.partition,
                        value: Some(offset.to_value()),
                    });
                    cursor.after = Some(offset.key);
                }
            }
            cursor = SnapshotCursor {
                slot: cursor.slot + 1,
                after: None,
            };
        }
        (records, None)
    }
}
