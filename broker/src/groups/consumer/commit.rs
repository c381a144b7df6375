//! Whether a member may commit or fetch offsets (contract 87).

use super::ConsumerGroup;
use super::member::{Member, Owned, Tp};
use protocol::ErrorCode;
use protocol::types::TopicId;

/// From this version of OffsetCommit on the epoch of a member of the new protocol has room in it.
const MEMBER_EPOCH: i16 = 9;

/// The fields of an OffsetCommit (or TxnOffsetCommit) that say who commits.
#[derive(Clone, Copy, Debug)]
pub struct Committer<'a> {
    /// Member id; `""` when it has none.
    pub member_id: &'a str,
    /// Of static members.
    pub group_instance_id: Option<&'a str>,
    /// Member epoch, or generation of the classic protocol; −1: none.
    pub member_epoch: i32,
    /// Version of the API.
    pub api_version: i16,
    /// Whether it is a TxnOffsetCommit.
    pub transactional: bool,
}

/// What of a commit is allowed: everything, or (KIP-1251) the partitions that the member has held since the epoch that it
/// commits with.
#[derive(Debug)]
pub struct CommitCheck<'a> {
    /// A member that commits with an older epoch than its own.
    late: Option<(&'a Member, i32)>,
}

impl CommitCheck<'_> {
    /// Whether the offset of this partition may be committed: `StaleMemberEpoch` when not (`IllegalGeneration` for members of
    /// the classic protocol).
    pub fn partition(&self, topic_id: TopicId, partition: i32) -> Result<(), ErrorCode> {
        let Some((member, epoch)) = self.late else {
            return Ok(());
        };
        let tp = Tp { topic_id, partition };
        let find = |owned: &[Owned]| {
            let index = owned.binary_search_by(|owned| owned.tp.cmp(&tp)).ok()?;
            owned.get(index).map(|owned| owned.epoch)
        };
        match find(&member.assigned).or_else(|| find(&member.pending_revocation)) {
            Some(assigned_at) if assigned_at <= epoch => Ok(()),
            _ => Err(stale(member)),
        }
    }
}

impl ConsumerGroup {
    /// Whether a member may commit (contract 87), as far as the whole request goes; partitions are asked one by one. Renews
    /// nothing. Who is no member may commit while there are none.
    pub fn check_commit(&self, committer: &Committer<'_>) -> Result<CommitCheck<'_>, ErrorCode> {
        let everything = CommitCheck { late: None };
        if committer.member_epoch < 0 && self.members.is_empty() {
            return Ok(everything);
        }
        let anonymous = committer.member_id.is_empty() && committer.group_instance_id.is_none();
        if committer.transactional && committer.member_epoch == -1 && anonymous {
            return Ok(everything);
        }
        let member = self
            .members
            .get(committer.member_id)
            .ok_or(ErrorCode::UnknownMemberId)?;
        if !committer.transactional && !member.is_classic() && committer.api_version < MEMBER_EPOCH {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if committer.member_epoch == member.epoch {
            return Ok(everything);
        }
        if committer.member_epoch > member.epoch {
            return Err(stale(member));
        }
        Ok(CommitCheck {
            late: Some((member, committer.member_epoch)),
        })
    }

    /// Whether a member may fetch offsets (OffsetFetch v9+): `UnknownMemberId`, `StaleMemberEpoch`, and `IllegalGeneration` for
    /// members of the classic protocol.
    pub fn check_fetch(&self, member_id: Option<&str>, member_epoch: i32) -> Result<(), ErrorCode> {
        let Some(member_id) = member_id else {
            return if member_epoch < 0 {
                Ok(())
            } else {
                Err(ErrorCode::UnknownMemberId)
            };
        };
        let member = self.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if member.epoch == member_epoch {
            Ok(())
        } else {
            Err(stale(member))
        }
    }
}

fn stale(member: &Member) -> ErrorCode {
    if member.is_classic() {
        ErrorCode::IllegalGeneration
    } else {
        ErrorCode::StaleMemberEpoch
    }
}
