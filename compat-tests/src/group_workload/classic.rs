//! A member of a classic group: JoinGroup, SyncGroup, Heartbeat, OffsetCommit, LeaveGroup, as a consumer sends them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponse;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::requests::{Committing, assigned_places, assignment, commit, group_id, subscribed_topics, subscription};
use super::{BACKOFF, Kind, Shared, TOPICS, View, place_of};
use crate::group_checker::{Claim, Event};
use crate::ops::text;
use crate::raw::RawClient;

const PROTOCOL: &str = "range";
/// What a member of a group that moves may be told: load, move, generation, unknown, rebalance, fenced.
const EXPECTED: [i16; 8] = [7, 14, 15, 16, 22, 25, 27, 82];
const NOT_READY: [i16; 3] = [14, 15, 16];
/// A member that left just before a crash is a member again after it, until its session ends: its leaving became durable with
/// the next generation only. This is how long the others wait for it.
const SESSION_TIMEOUT_MS: i32 = 1_500;

/// One seat in a classic group, and who sits there.
pub struct ClassicMember<'a> {
    shared: &'a Shared,
    group: usize,
    slot: usize,
    instance_id: Option<String>,
    rng: StdRng,
    member_id: String,
    generation: i32,
    /// It has an assignment of this generation.
    joined: bool,
    places: Vec<usize>,
    topics: usize,
    changes: u32,
    /// It told the broker so, and does not know yet whether that was heard.
    leaving: bool,
}

impl<'a> ClassicMember<'a> {
    /// Nobody sits there yet.
    pub fn new(shared: &'a Shared, group: usize, slot: usize, seed: u64) -> ClassicMember<'a> {
        let is_static = shared.groups[group].kind == Kind::ClassicStatic;
        ClassicMember {
            shared,
            group,
            slot,
            instance_id: is_static.then(|| format!("instance-{slot}")),
            rng: StdRng::seed_from_u64(seed),
            member_id: String::new(),
            generation: -1,
            joined: false,
            places: Vec::new(),
            topics: TOPICS.len(),
            changes: 0,
            leaving: false,
        }
    }

    /// Takes part until it is stopped or the connection breaks.
    pub fn run(&mut self, addr: SocketAddr) {
        let shared = self.shared;
        shared.drive(addr, "a classic member", |client| self.step(client));
    }

    fn step(&mut self, client: &mut RawClient) -> io::Result<()> {
        if self.leaving {
            return self.leave(client);
        }
        if self.joined && self.shared.unrest() {
            self.disturb();
        } else if self.joined && self.topics < TOPICS.len() {
            self.subscribe(TOPICS.len());
        }
        match self.joined {
            false if self.leaving => self.leave(client),
            false => self.join(client),
            true if self.rng.random_bool(0.5) && !self.places.is_empty() => self.commit(client),
            true => self.heartbeat(client),
        }
    }

    /// Now and then a member leaves, changes its subscription, rejoins as it is, or comes back after a restart of its process.
    fn disturb(&mut self) {
        match self.rng.random_range(0..100) {
            0 | 1 if self.instance_id.is_none() => (self.leaving, self.joined) = (true, false),
            0 => {
                // A static member that starts again: it has forgotten who it was.
                self.member_id.clear();
                self.joined = false;
            }
            2 => self.joined = false,
            3 => {
                let topics = self.rng.random_range(1..=TOPICS.len());
                self.subscribe(topics);
            }
            _ => {}
        }
    }

    /// Metadata that differ from before make the group rebalance.
    fn subscribe(&mut self, topics: usize) {
        self.topics = topics;
        self.changes += 1;
        self.joined = false;
    }

    /// What an error code means is the same in all answers.
    fn refused(&mut self, api: &str, code: i16) {
        self.shared.set_view(self.slot, None);
        if !EXPECTED.contains(&code) {
            self.shared.surprise(format!("{api}: error {code}"));
        }
        if NOT_READY.contains(&code) {
            return std::thread::sleep(BACKOFF);
        }
        self.joined = false;
        if [25, 82].contains(&code) {
            self.shared
                .note(format!("{api} told a member to begin anew: error {code}"));
            self.member_id.clear();
        }
    }

    fn join(&mut self, client: &mut RawClient) -> io::Result<()> {
        self.shared.set_view(self.slot, None);
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text(PROTOCOL))
            .with_metadata(subscription(self.topics, self.changes));
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(&self.shared.groups[self.group].name))
            .with_session_timeout_ms(SESSION_TIMEOUT_MS)
            .with_rebalance_timeout_ms(30_000)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id.as_deref().map(text))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        self.shared.record(&Event::RoundInvoke { slot: self.slot });
        let answer = client.try_call(9, &request)?;
        match answer.error_code {
            0 => {
                let (slot, generation) = (self.slot, answer.generation_id);
                self.shared.record(&Event::JoinOk { slot, generation });
                self.shared.count_step();
                self.member_id = answer.member_id.to_string();
                self.generation = generation;
                self.sync(client, &answer)
            }
            79 => {
                self.member_id = answer.member_id.to_string();
                Ok(())
            }
            code => {
                self.refused("JoinGroup", code);
                Ok(())
            }
        }
    }

    fn sync(&mut self, client: &mut RawClient, joined: &JoinGroupResponse) -> io::Result<()> {
        let mut request = SyncGroupRequest::default()
            .with_group_id(group_id(&self.shared.groups[self.group].name))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id.as_deref().map(text))
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text(PROTOCOL)));
        if joined.leader == joined.member_id && !joined.skip_assignment {
            request.assignments = self.assign(joined)?;
        }
        self.shared.record(&Event::RoundInvoke { slot: self.slot });
        let answer = client.try_call(5, &request)?;
        if answer.error_code != 0 {
            self.refused("SyncGroup", answer.error_code);
            return Ok(());
        }
        self.places = assigned_places(answer.assignment, self.group)?;
        self.joined = true;
        self.shared.record(&Event::SyncOk {
            slot: self.slot,
            generation: self.generation,
            assigned: self.places.clone(),
        });
        self.shared.count_step();
        Ok(())
    }

    /// The leader's work: each partition to one of those who want its topic, another one in each generation.
    fn assign(&self, joined: &JoinGroupResponse) -> io::Result<Vec<SyncGroupRequestAssignment>> {
        let mut wanted = BTreeMap::new();
        for member in &joined.members {
            wanted.insert(member.member_id.clone(), subscribed_topics(member.metadata.clone())?);
        }
        let mut assigned: BTreeMap<_, Vec<usize>> = wanted.keys().map(|id| (id.clone(), Vec::new())).collect();
        for (topic, (_, partitions)) in TOPICS.iter().enumerate() {
            let who: Vec<_> = wanted.iter().filter(|(_, topics)| **topics > topic).collect();
            for (partition, turn) in (0..*partitions).zip(self.generation..) {
                let to = usize::try_from(turn).ok().and_then(|turn| turn.checked_rem(who.len()));
                if let (Some(to), Some(place)) = (to, place_of(self.group, topic, partition)) {
                    assigned.entry(who[to].0.clone()).or_default().push(place);
                }
            }
        }
        let assignment = |(member_id, places): (_, Vec<usize>)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(member_id)
                .with_assignment(assignment(&places))
        };
        Ok(assigned.into_iter().map(assignment).collect())
    }

    fn heartbeat(&mut self, client: &mut RawClient) -> io::Result<()> {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&self.shared.groups[self.group].name))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id.as_deref().map(text));
        match client.try_call(4, &request)?.error_code {
            0 => {
                let (generation, places) = (self.generation, self.places.clone());
                self.shared.set_view(self.slot, Some(View { generation, places }));
            }
            code => self.refused("Heartbeat", code),
        }
        Ok(())
    }

    fn commit(&mut self, client: &mut RawClient) -> io::Result<()> {
        let (slot, generation) = (self.slot, self.generation);
        let who = Committing {
            group: &self.shared.groups[self.group].name,
            claim: Claim::Generation { slot, generation },
            generation_or_epoch: generation,
            member_id: &self.member_id,
            instance_id: self.instance_id.as_deref(),
            version: self.rng.random_range(7..=9),
            expected: &EXPECTED,
        };
        let codes = commit(client, self.shared, &who, &self.places)?;
        if let Some(code) = codes.into_iter().find(|code| *code != 0) {
            self.refused("OffsetCommit", code);
        }
        Ok(())
    }

    /// Repeated until it is answered: a member that the broker still has and that nobody plays would hold up the others.
    fn leave(&mut self, client: &mut RawClient) -> io::Result<()> {
        self.shared.set_view(self.slot, None);
        let member = MemberIdentity::default()
            .with_member_id(text(&self.member_id))
            .with_reason(Some(text("unrest")));
        let request = LeaveGroupRequest::default()
            .with_group_id(group_id(&self.shared.groups[self.group].name))
            .with_members(vec![member]);
        let answer = client.try_call(5, &request)?;
        let code = match answer.error_code {
            0 => answer.members.first().map_or(0, |member| member.error_code),
            code => code,
        };
        match code {
            // Unknown: an earlier attempt was heard.
            0 | 25 => {
                self.leaving = false;
                self.member_id.clear();
            }
            code => self.refused("LeaveGroup", code),
        }
        Ok(())
    }
}
