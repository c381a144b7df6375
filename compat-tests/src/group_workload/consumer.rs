//! A member of a consumer group (KIP-848): ConsumerGroupHeartbeat and OffsetCommit with a member epoch.

use std::io;
use std::net::SocketAddr;

use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::consumer_group_heartbeat_response::Assignment;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use super::requests::{Committing, commit, group_id};
use super::{BACKOFF, Shared, TOPICS, View, place_of, topic_partition};
use crate::group_checker::{Claim, Event};
use crate::ops::{text, topic_name};
use crate::raw::RawClient;

/// What a member may be told: load, move, unknown, fenced, stale.
const EXPECTED: [i16; 7] = [7, 14, 15, 16, 25, 110, 113];
const NOT_READY: [i16; 3] = [14, 15, 16];
/// The epochs that say "I join" and "I leave".
const JOIN: i32 = 0;
const LEAVE: i32 = -1;

/// One seat in a consumer group, and who sits there.
pub struct ConsumerMember<'a> {
    shared: &'a Shared,
    group: usize,
    slot: usize,
    rng: StdRng,
    member_id: String,
    epoch: i32,
    owned: Vec<usize>,
    topics: usize,
    /// The next heartbeat says everything, so that the answer does, too: the one before may have been lost.
    full: bool,
    leaving: bool,
}

impl<'a> ConsumerMember<'a> {
    /// Nobody sits there yet.
    pub fn new(shared: &'a Shared, group: usize, slot: usize, seed: u64) -> ConsumerMember<'a> {
        let mut rng = StdRng::seed_from_u64(seed);
        ConsumerMember {
            shared,
            group,
            slot,
            member_id: new_member_id(&mut rng),
            rng,
            epoch: JOIN,
            owned: Vec::new(),
            topics: TOPICS.len(),
            full: true,
            leaving: false,
        }
    }

    /// Takes part until it is stopped or the connection breaks.
    pub fn run(&mut self, addr: SocketAddr) {
        let shared = self.shared;
        self.full = true;
        shared.drive(addr, "a consumer group's member", |client| self.step(client));
    }

    fn step(&mut self, client: &mut RawClient) -> io::Result<()> {
        if self.leaving {
            return self.leave(client);
        }
        if self.epoch > 0 && self.shared.unrest() {
            self.disturb();
        } else if self.topics < TOPICS.len() {
            self.subscribe(TOPICS.len());
        }
        if self.leaving {
            self.leave(client)
        } else if self.epoch > 0 && !self.owned.is_empty() && self.rng.random_bool(0.5) {
            self.commit(client)
        } else {
            self.heartbeat(client)
        }
    }

    /// Now and then a member leaves or changes its subscription.
    fn disturb(&mut self) {
        match self.rng.random_range(0..100) {
            0 | 1 => {
                self.leaving = true;
                self.release();
            }
            2 | 3 => {
                let topics = self.rng.random_range(1..=TOPICS.len());
                self.subscribe(topics);
            }
            _ => {}
        }
    }

    fn subscribe(&mut self, topics: usize) {
        self.topics = topics;
        self.full = true;
    }

    fn release(&mut self) {
        self.owned.clear();
        self.shared.record(&Event::Released { slot: self.slot });
        self.shared.set_view(self.slot, None);
    }

    fn heartbeat(&mut self, client: &mut RawClient) -> io::Result<()> {
        let mut request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(&self.shared.groups[self.group].name))
            .with_member_id(text(&self.member_id))
            .with_member_epoch(self.epoch)
            .with_rebalance_timeout_ms(-1)
            .with_topic_partitions(Some(self.owned_by_topic()));
        let full = self.full || self.epoch == JOIN;
        if full {
            let names = TOPICS.iter().take(self.topics).map(|(name, _)| topic_name(name));
            request.rebalance_timeout_ms = 30_000;
            request.subscribed_topic_names = Some(names.collect());
        }
        let (slot, owned) = (self.slot, self.owned.clone());
        self.shared.record(&Event::HeartbeatInvoke { slot, owned });
        let answer = client.try_call(1, &request)?;
        match answer.error_code {
            0 => {
                self.full = false;
                self.answered(answer.member_epoch, answer.assignment)?;
            }
            code => self.refused("ConsumerGroupHeartbeat", code),
        }
        Ok(())
    }

    fn answered(&mut self, epoch: i32, assignment: Option<Assignment>) -> io::Result<()> {
        let assigned = assignment.map(|assignment| self.places(&assignment)).transpose()?;
        self.shared.record(&Event::HeartbeatOk {
            slot: self.slot,
            epoch,
            assigned: assigned.clone(),
        });
        if epoch != self.epoch || assigned.is_some() {
            self.shared.count_step();
        }
        self.epoch = epoch;
        if let Some(assigned) = assigned {
            self.owned = assigned;
        }
        let (generation, places) = (epoch, self.owned.clone());
        self.shared.set_view(self.slot, Some(View { generation, places }));
        Ok(())
    }

    fn refused(&mut self, api: &str, code: i16) {
        if !EXPECTED.contains(&code) {
            self.shared.surprise(format!("{api}: error {code}"));
        }
        match code {
            25 | 110 => {
                self.shared
                    .note(format!("{api} told a member to begin anew: error {code}"));
                self.epoch = JOIN;
                self.release();
            }
            // The epoch moved on: the next heartbeat tells.
            113 => {}
            code if NOT_READY.contains(&code) => std::thread::sleep(BACKOFF),
            _ => {}
        }
    }

    fn commit(&mut self, client: &mut RawClient) -> io::Result<()> {
        let who = Committing {
            group: &self.shared.groups[self.group].name,
            claim: Claim::Epoch { slot: self.slot },
            generation_or_epoch: self.epoch,
            member_id: &self.member_id,
            instance_id: None,
            version: 9,
            expected: &EXPECTED,
        };
        let codes = commit(client, self.shared, &who, &self.owned)?;
        match codes.into_iter().find(|code| *code != 0) {
            Some(113) => self.heartbeat(client),
            Some(code) => {
                self.refused("OffsetCommit", code);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Repeated until it is answered: a member that the broker still has and that nobody plays would keep its partitions.
    fn leave(&mut self, client: &mut RawClient) -> io::Result<()> {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(&self.shared.groups[self.group].name))
            .with_member_id(text(&self.member_id))
            .with_member_epoch(LEAVE)
            .with_rebalance_timeout_ms(-1);
        match client.try_call(1, &request)?.error_code {
            // Unknown: an earlier attempt was heard.
            0 | 25 => {
                self.leaving = false;
                self.member_id = new_member_id(&mut self.rng);
                self.epoch = JOIN;
            }
            code => self.refused("ConsumerGroupHeartbeat (leave)", code),
        }
        Ok(())
    }

    fn owned_by_topic(&self) -> Vec<TopicPartitions> {
        let topics = self.shared.topic_ids.iter().enumerate().map(|(index, id)| {
            let here = self.owned.iter().map(|place| topic_partition(*place));
            let partitions = here
                .filter(|(topic, _)| *topic == index)
                .map(|(_, partition)| partition);
            TopicPartitions::default()
                .with_topic_id(*id)
                .with_partitions(partitions.collect())
        });
        topics.filter(|topic| !topic.partitions.is_empty()).collect()
    }

    fn places(&self, assignment: &Assignment) -> io::Result<Vec<usize>> {
        let mut places = Vec::new();
        for topic in &assignment.topic_partitions {
            let index = self.shared.topic_ids.iter().position(|id| *id == topic.topic_id);
            for partition in &topic.partitions {
                let place = index.and_then(|index| place_of(self.group, index, *partition));
                places.push(place.ok_or_else(|| io::Error::other("an assignment of what nobody has"))?);
            }
        }
        places.sort_unstable();
        Ok(places)
    }
}

fn new_member_id(rng: &mut StdRng) -> String {
    Uuid::from_u128(rng.random()).to_string()
}
