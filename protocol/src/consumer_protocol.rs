//! What consumers of a classic group say to each other through it: a member's subscription, the leader's assignment.
//! The broker looks inside to show it to tools, and to let members of both protocols live in one group.
//!
//! Source: `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment` of Kafka's clients, versions 0 to 3. Later
//! versions only add fields at the end, so that they are read as version 3. Bytes come from clients and may be anything.

use crate::decode_error::DecodeError;
use crate::wire::{Reader, put_length, put_str};
use bytes::{BufMut, Bytes};
use std::sync::Arc;

/// The highest version that is known.
pub const VERSION_MAX: i16 = 3;

/// What one decoded value may hold in memory; a subscription to 10,000 topics takes 1 MB.
const MEMORY_LIMIT: usize = 64 << 20;

/// What an `Arc<str>` takes besides its text: the pointer, two counters, and what the allocator rounds up.
const TEXT_BYTES: usize = 48;

/// What a consumer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The version as sent.
    pub version: i16,
    /// Topics by name.
    pub topics: Vec<Arc<str>>,
    /// The assignor's own.
    pub user_data: Option<Bytes>,
    /// What the member owns, from version 1 on.
    pub owned_partitions: Vec<OwnedPartitions>,
    /// The generation in which it came to own that, from version 2 on; −1: unknown.
    pub generation_id: i32,
    /// Its rack, from version 3 on; an empty one is none.
    pub rack_id: Option<Arc<str>>,
}

/// What a consumer gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Partitions by topic.
    pub assigned_partitions: Vec<OwnedPartitions>,
    /// The assignor's own.
    pub user_data: Option<Bytes>,
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedPartitions {
    /// The topic's name.
    pub topic: Arc<str>,
    /// Partition numbers, as sent.
    pub partitions: Vec<i32>,
}

/// The version that begins a subscription or an assignment.
pub fn version(bytes: &[u8]) -> Result<i16, DecodeError> {
    let version = Reader::new(bytes).i16("a version")?;
    if version < 0 {
        let what = "the consumer protocol";
        return Err(DecodeError::RecordVersion { what, version });
    }
    Ok(version)
}

impl Subscription {
    /// Reads the metadata that a member joined with. Bytes behind the last field are ignored.
    pub fn decode(bytes: &[u8]) -> Result<Subscription, DecodeError> {
        let version = version(bytes)?;
        let mut r = Bounded::behind_version(bytes)?;
        Ok(Subscription {
            version,
            topics: r.array(2, |r| r.text("a topic"))?,
            user_data: r.user_data()?,
            owned_partitions: if version >= 1 { r.partitions()? } else { Vec::new() },
            generation_id: if version >= 2 {
                r.reader.i32("a generation id")?
            } else {
                -1
            },
            rack_id: if version >= 3 { r.nullable_text("a rack")? } else { None },
        })
    }
}

impl Assignment {
    /// Reads what the leader gave a member; no bytes at all are an empty assignment, as of members that got nothing.
    pub fn decode(bytes: &[u8]) -> Result<Assignment, DecodeError> {
        if bytes.is_empty() {
            return Ok(Assignment::default());
        }
        version(bytes)?;
        let mut r = Bounded::behind_version(bytes)?;
        Ok(Assignment {
            assigned_partitions: r.partitions()?,
            user_data: r.user_data()?,
        })
    }

    /// Bytes for a member that speaks `version`; the fields are the same in all versions. Later ones become
    /// [`VERSION_MAX`].
    pub fn encode(&self, version: i16) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.put_i16(version.clamp(0, VERSION_MAX));
        put_length(&mut out, false, self.assigned_partitions.len());
        for topic in &self.assigned_partitions {
            put_str(&mut out, false, &topic.topic);
            put_length(&mut out, false, topic.partitions.len());
            topic.partitions.iter().for_each(|partition| out.put_i32(*partition));
        }
        match &self.user_data {
            Some(data) => {
                put_length(&mut out, false, data.len());
                out.put_slice(data);
            }
            None => out.put_i32(-1),
        }
        out
    }
}

/// A reader that counts what it gives out: short strings take many times their bytes in memory.
struct Bounded<'a> {
    reader: Reader<'a>,
    memory_left: usize,
}

impl<'a> Bounded<'a> {
    fn behind_version(bytes: &'a [u8]) -> Result<Bounded<'a>, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.i16("a version")?;
        Ok(Bounded {
            reader,
            memory_left: MEMORY_LIMIT,
        })
    }

    fn spend(&mut self, bytes: usize) -> Result<(), DecodeError> {
        let left = self.memory_left.checked_sub(bytes);
        self.memory_left = left.ok_or(DecodeError::Memory { limit: MEMORY_LIMIT })?;
        Ok(())
    }

    fn text(&mut self, what: &'static str) -> Result<Arc<str>, DecodeError> {
        let text = self.reader.str(false, what)?;
        self.spend(TEXT_BYTES + text.len())?;
        Ok(Arc::from(text))
    }

    fn nullable_text(&mut self, what: &'static str) -> Result<Option<Arc<str>>, DecodeError> {
        let text = self.reader.nullable_str(false, what)?;
        Ok(text.filter(|text| !text.is_empty()).map(Arc::from))
    }

    fn user_data(&mut self) -> Result<Option<Bytes>, DecodeError> {
        let data = self.reader.nullable_bytes(false, "user data")?;
        self.spend(data.map_or(0, <[u8]>::len))?;
        Ok(data.map(Bytes::copy_from_slice))
    }

    fn partitions(&mut self) -> Result<Vec<OwnedPartitions>, DecodeError> {
        self.array(2 + 4, |r| {
            r.spend(size_of::<OwnedPartitions>())?;
            let topic = r.text("a topic")?;
            let partitions = r.array(4, |r| {
                r.spend(4)?;
                r.reader.i32("a partition")
            })?;
            Ok(OwnedPartitions { topic, partitions })
        })
    }

    /// An array whose elements take at least `bytes_min` each. Memory grows as elements are read, never by the count alone.
    fn array<T>(
        &mut self,
        bytes_min: usize,
        mut element: impl FnMut(&mut Bounded<'a>) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.reader.count(false, bytes_min)?;
        let count = count.ok_or(DecodeError::Null { what: "an array" })?;
        (0..count).map(|_| element(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// As Kafka 4.3.0's `ConsumerProtocolSubscription` writes them, versions 0 to 3.
    const SUBSCRIPTIONS: [&str; 4] = [
        "0000 00000002 0005 6175646974 0008 7061796d656e7473 00000002 7564",
        "0001 00000002 0005 6175646974 0008 7061796d656e7473 00000002 7564
         00000001 0008 7061796d656e7473 00000002 00000000 00000003",
        "0002 00000002 0005 6175646974 0008 7061796d656e7473 00000002 7564
         00000001 0008 7061796d656e7473 00000002 00000000 00000003 0000000b",
        "0003 00000002 0005 6175646974 0008 7061796d656e7473 00000002 7564
         00000001 0008 7061796d656e7473 00000002 00000000 00000003 0000000b 0002 7231",
    ];

    fn subscription(version: i16) -> Subscription {
        Subscription {
            version,
            topics: vec!["audit".into(), "payments".into()],
            user_data: Some(Bytes::from_static(b"ud")),
            owned_partitions: match version {
                0 => vec![],
                _ => vec![owned("payments", &[0, 3])],
            },
            generation_id: if version >= 2 { 11 } else { -1 },
            rack_id: (version >= 3).then(|| "r1".into()),
        }
    }

    fn owned(topic: &str, partitions: &[i32]) -> OwnedPartitions {
        OwnedPartitions {
            topic: topic.into(),
            partitions: partitions.to_vec(),
        }
    }

    #[test]
    fn subscriptions_of_every_version() {
        for (version, bytes) in (0..).zip(SUBSCRIPTIONS) {
            assert_eq!(Subscription::decode(&hex(bytes)), Ok(subscription(version)));
        }
        let small = Subscription::decode(&hex("0003 00000001 0001 74 ffffffff 00000000 ffffffff ffff"));
        let expected = Subscription {
            topics: vec!["t".into()],
            user_data: None,
            owned_partitions: vec![],
            generation_id: -1,
            rack_id: None,
            version: 3,
        };
        assert_eq!(small, Ok(expected));
    }

    #[test]
    fn a_later_version_is_read_as_the_last_one() {
        let mut bytes = hex(SUBSCRIPTIONS[3]);
        bytes.splice(0..2, [0x7f, 0xff]);
        bytes.extend(b"something new");
        let expected = Subscription {
            version: 0x7fff,
            ..subscription(3)
        };
        assert_eq!(Subscription::decode(&bytes), Ok(expected));
        let negative = DecodeError::RecordVersion {
            what: "the consumer protocol",
            version: -1,
        };
        assert_eq!(Subscription::decode(&[0xff, 0xff]), Err(negative.clone()));
        assert_eq!(Assignment::decode(&[0xff, 0xff]), Err(negative));
    }

    #[test]
    fn assignments_there_and_back() {
        // As Kafka 4.3.0's `ConsumerProtocolAssignment` writes it, versions 0 and 3.
        let fields = "00000002 0008 7061796d656e7473 00000002 00000000 00000003 0005 6175646974 00000001 00000001
            00000002 7564";
        let assignment = Assignment {
            assigned_partitions: vec![owned("payments", &[0, 3]), owned("audit", &[1])],
            user_data: Some(Bytes::from_static(b"ud")),
        };
        for (version, written) in [(0, "0000"), (3, "0003"), (9, "0003")] {
            let bytes = hex(&format!("{written}{fields}"));
            assert_eq!(assignment.encode(version), bytes);
            assert_eq!(Assignment::decode(&bytes), Ok(assignment.clone()));
        }
        let empty = Assignment::default();
        assert_eq!(empty.encode(1), hex("0001 00000000 ffffffff"));
        assert_eq!(Assignment::decode(&hex("0001 00000000 ffffffff")), Ok(empty.clone()));
        assert_eq!(Assignment::decode(&[]), Ok(empty));
    }

    #[test]
    fn every_cut_is_an_error() {
        for bytes in SUBSCRIPTIONS.map(hex) {
            for cut in 0..bytes.len() {
                assert!(Subscription::decode(&bytes[..cut]).is_err(), "{cut} of {bytes:?}");
            }
        }
    }

    #[test]
    fn counts_that_lie_and_nulls_are_errors() {
        let lie = Subscription::decode(&hex("0000 7fffffff 0001 74"));
        assert!(matches!(lie, Err(DecodeError::Count { .. })), "{lie:?}");
        let null = Subscription::decode(&hex("0000 ffffffff ffffffff"));
        assert_eq!(null, Err(DecodeError::Null { what: "an array" }));
        let not_text = Subscription::decode(&hex("0000 00000001 0001 ff ffffffff"));
        assert_eq!(not_text, Err(DecodeError::Utf8 { what: "a topic" }));
    }

    #[test]
    fn millions_of_empty_names_are_refused_by_what_they_take() {
        let count = 3_000_000u32;
        let mut bytes = vec![0, 0];
        bytes.extend(count.to_be_bytes());
        bytes.extend(vec![0; count as usize * 2]);
        bytes.extend([0xff; 4]);
        assert_eq!(
            Subscription::decode(&bytes),
            Err(DecodeError::Memory { limit: MEMORY_LIMIT })
        );
    }
}
