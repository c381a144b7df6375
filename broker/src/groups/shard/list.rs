//! ListGroups, and how many groups there are of which kind.

use super::{Entry, Machine, Shard, str_bytes};
use crate::groups::classic::ClassicState;
use crate::groups::consumer::ConsumerState;
use kafka_protocol::messages::ListGroupsRequest;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::protocol::StrBytes;

/// Which groups ListGroups asks for. Case does not matter; a name that no group can have matches none.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// Names of states; empty: all.
    pub states: Vec<String>,
    /// `classic`, `consumer`; empty: all.
    pub types: Vec<String>,
}

/// How many groups, members and offsets a shard has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Classic groups by state; simple ones count as Empty.
    pub classic: Vec<(ClassicState, usize)>,
    /// Consumer groups by state.
    pub consumer: Vec<(ConsumerState, usize)>,
    /// Members of all groups.
    pub members: usize,
    /// Committed offsets.
    pub offsets: usize,
}

const CONSUMER: StrBytes = StrBytes::from_static_str("consumer");
const CLASSIC: StrBytes = StrBytes::from_static_str("classic");

impl ListFilter {
    /// As a request has it.
    pub fn new(request: &ListGroupsRequest) -> ListFilter {
        let copy = |names: &[StrBytes]| names.iter().map(|name| name.to_string()).collect();
        ListFilter {
            states: copy(&request.states_filter),
            types: copy(&request.types_filter),
        }
    }

    fn accepts(&self, group: &ListedGroup) -> bool {
        let has = |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n.eq_ignore_ascii_case(name));
        has(&self.states, &group.group_state) && has(&self.types, &group.group_type)
    }
}

impl Shard {
    /// Adds the groups that the filter lets through.
    pub fn list_groups(&self, filter: &ListFilter, out: &mut Vec<ListedGroup>) {
        let groups = self.slots.iter().flatten().map(listed);
        out.extend(groups.filter(|group| filter.accepts(group)));
    }

    /// Counts. Looks at each group.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            offsets: self.tables.total(),
            ..Counts::default()
        };
        for entry in self.slots.iter().flatten() {
            match &entry.machine {
                Machine::Consumer(group) => {
                    count(&mut counts.consumer, group.state());
                    counts.members += group.len();
                }
                Machine::Classic(group) => {
                    count(&mut counts.classic, group.state());
                    counts.members += group.member_count();
                }
                Machine::None => count(&mut counts.classic, ClassicState::Empty),
            }
        }
        counts
    }
}

fn count<S: PartialEq>(counts: &mut Vec<(S, usize)>, state: S) {
    match counts.iter_mut().find(|(counted, _)| *counted == state) {
        Some((_, groups)) => *groups += 1,
        None => counts.push((state, 1)),
    }
}

fn listed(entry: &Entry) -> ListedGroup {
    let (protocol_type, state, group_type) = match &entry.machine {
        Machine::Consumer(group) => (CONSUMER, group.state().to_string(), CONSUMER),
        Machine::Classic(group) => {
            let protocol_type = group.protocol_type().map(|name| str_bytes(name)).unwrap_or_default();
            (protocol_type, group.state().to_string(), CLASSIC)
        }
        Machine::None => (StrBytes::default(), ClassicState::Empty.to_string(), CLASSIC),
    };
    ListedGroup::default()
        .with_group_id(str_bytes(&entry.group_id).into())
        .with_protocol_type(protocol_type)
        .with_group_state(state.into())
        .with_group_type(group_type)
}
