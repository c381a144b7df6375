//! Who is to read what: the assignors of the broker, `uniform` (the default) and `range`.
//!
//! Both are functions of the members' subscriptions and of the target so far. What never lives here: what members own at the
//! moment (`super::reconcile`), records.

mod range;
mod uniform;

use super::member::Tp;
use protocol::types::TopicId;

/// What an assignor is told.
pub(super) struct Spec<'a> {
    /// The members, sorted by id.
    pub(super) members: Vec<MemberSpec<'a>>,
    /// Each member's topics are one of these: sorted by id, existing, each once. Two of them differ.
    pub(super) subscriptions: Vec<Vec<TopicSpec>>,
}

/// A member, as assignors see it.
pub(super) struct MemberSpec<'a> {
    pub(super) id: &'a str,
    pub(super) instance_id: Option<&'a str>,
    /// Index into the subscriptions.
    pub(super) subscription: usize,
    /// Its target so far, sorted.
    pub(super) target: &'a [Tp],
}

/// A topic and how many partitions it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TopicSpec {
    pub(super) topic_id: TopicId,
    pub(super) partitions: i32,
}

/// The assignors that the broker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assignor {
    /// As even as can be, with as few moves as can be.
    Uniform,
    /// Ranges of each topic, so that topics of the same size are read in step.
    Range,
}

impl Assignor {
    /// The assignor of that name.
    pub(super) fn of_name(name: &str) -> Option<Assignor> {
        match name {
            "uniform" => Some(Assignor::Uniform),
            "range" => Some(Assignor::Range),
            _ => None,
        }
    }

    /// The partitions of each member, in the order of `spec.members`, sorted. Every partition of a subscribed topic goes to one
    /// member that is subscribed to it.
    pub(super) fn assign(self, spec: &Spec<'_>) -> Vec<Vec<Tp>> {
        let mut assignment = match self {
            Assignor::Uniform => uniform::assign(spec),
            Assignor::Range => range::assign(spec),
        };
        for partitions in &mut assignment {
            partitions.sort_unstable();
        }
        assignment
    }
}

impl Spec<'_> {
    /// The topics of a member.
    fn topics(&self, member: &MemberSpec<'_>) -> &[TopicSpec] {
        self.subscriptions.get(member.subscription).map_or(&[], Vec::as_slice)
    }
}
