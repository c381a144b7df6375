//! Small value types shared by the wire, the log and the broker. No behaviour beyond formatting and arithmetic.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;

/// A record's position in a partition, counted in records from 0. `Offset(5)` is the sixth record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Add<i64> for Offset {
    type Output = Offset;
    fn add(self, records: i64) -> Offset {
        Offset(self.0 + records)
    }
}

impl Sub for Offset {
    type Output = i64;
    fn sub(self, other: Offset) -> i64 {
        self.0 - other.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A topic's identity (KIP-516). A topic that is deleted and created again has a new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The id that requests by name carry: all zero.
    pub const ZERO: TopicId = TopicId([0; 16]);

    /// Whether this is [`TopicId::ZERO`].
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 16]
    }
}

/// Kafka's text form: 22 characters of URL-safe base64 without padding.
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        for group in self.0.chunks(3) {
            let bits = group.iter().fold(0u32, |acc, byte| (acc << 8) | u32::from(*byte)) << (8 * (3 - group.len()));
            for i in 0..=group.len() {
                let six = (bits >> (18 - 6 * i)) & 63;
                write!(f, "{}", char::from(ALPHABET[six as usize]))?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

/// How a request names a topic: by name in older versions, by id in newer ones. A slice of the request's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicRef<'a> {
    /// As sent: not yet checked against the rules for names (contract 62).
    Name(&'a str),
    /// As sent: may be unknown.
    Id(TopicId),
}

impl TopicRef<'_> {
    /// Copies it, so that it outlives the frame.
    pub fn to_topic(&self) -> Topic {
        match self {
            TopicRef::Name(name) => Topic::Name(Arc::from(*name)),
            TopicRef::Id(id) => Topic::Id(*id),
        }
    }
}

/// How a reply names a topic: the way that its request did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// By name.
    Name(Arc<str>),
    /// By id.
    Id(TopicId),
}

impl Topic {
    /// Borrows it.
    pub fn as_ref(&self) -> TopicRef<'_> {
        match self {
            Topic::Name(name) => TopicRef::Name(name),
            Topic::Id(id) => TopicRef::Id(*id),
        }
    }
}

/// A leader and its epoch, as replies tell it to clients that asked the wrong broker (contract 36).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderIdAndEpoch {
    /// The leader's broker id; −1 is unknown.
    pub leader_id: i32,
    /// The leader's epoch.
    pub leader_epoch: i32,
}

/// A broker's address beside [`LeaderIdAndEpoch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// The broker id.
    pub node_id: i32,
    /// Host name as advertised.
    pub host: String,
    /// Port as advertised.
    pub port: i32,
    /// The broker's rack.
    pub rack: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_id_prints_as_kafka_does() {
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        // org.apache.kafka.common.Uuid(0x0001020304050607, 0x08090a0b0c0d0eff).toString()
        let mut bytes: [u8; 16] = std::array::from_fn(|i| i as u8);
        bytes[15] = 0xff;
        assert_eq!(TopicId(bytes).to_string(), "AAECAwQFBgcICQoLDA0O_w");
    }
}
