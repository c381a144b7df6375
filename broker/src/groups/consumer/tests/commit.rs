//! Who may commit and fetch offsets: contract 87.

use super::*;
use crate::groups::consumer::Committer;

fn by<'a>(member_id: &'a str, member_epoch: i32) -> Committer<'a> {
    Committer {
        member_id,
        group_instance_id: None,
        member_epoch,
        api_version: 9,
        transactional: false,
    }
}

/// The code for the whole request, or for partitions 0 and 1 of a.
fn codes(bench: &Bench, committer: Committer<'_>) -> Result<[Option<ErrorCode>; 2], ErrorCode> {
    let check = bench.group().check_commit(&committer)?;
    let topic_id = bench.topics.topic("a").expect("a topic").id;
    Ok([0, 1].map(|partition| check.partition(topic_id, partition).err()))
}

/// contract 87: the epoch must be the member's own.
#[test]
fn commits_use_the_member_epoch() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.joined(&[("m", &["a"])]);
    assert_eq!(codes(&bench, by("m", 1)), Ok([None, None]));
    assert_eq!(codes(&bench, by("m", 2)), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(codes(&bench, by("n", 1)), Err(ErrorCode::UnknownMemberId));
    assert_eq!(
        codes(&bench, by("", -1)),
        Err(ErrorCode::UnknownMemberId),
        "there are members"
    );
    let old = Committer {
        api_version: 8,
        ..by("m", 1)
    };
    assert_eq!(codes(&bench, old), Err(ErrorCode::UnsupportedVersion));
    let transactional = |id, epoch| Committer {
        api_version: 3,
        transactional: true,
        ..by(id, epoch)
    };
    assert_eq!(codes(&bench, transactional("m", 1)), Ok([None, None]));
    assert_eq!(
        codes(&bench, transactional("", -1)),
        Ok([None, None]),
        "a producer without group metadata"
    );
    bench.beat(&request("m", -1));
    assert_eq!(codes(&bench, by("", -1)), Ok([None, None]));
    assert_eq!(codes(&bench, by("m", 1)), Err(ErrorCode::UnknownMemberId));
}

/// contract 87, KIP-1251: an older epoch may commit what the member has had since then, also what it is giving up.
#[test]
fn older_epochs_commit_what_they_had() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.joined(&[("m", &["a"])]);
    bench.beat(&joining("n", &["a"]));
    bench.beat(&living("m", 1));
    assert_eq!(codes(&bench, by("m", 1)), Ok([None, None]));
    assert_eq!(
        codes(&bench, by("m", 0)),
        Ok([Some(ErrorCode::StaleMemberEpoch); 2]),
        "it has neither since epoch 0"
    );
    bench.settle(["m", "n"].into_iter());
    let kept = bench.has("m").into_iter().next().expect("a partition").1;
    let mut expected = [Some(ErrorCode::StaleMemberEpoch); 2];
    expected[kept as usize] = None;
    assert_eq!(codes(&bench, by("m", 1)), Ok(expected));
    assert_eq!(codes(&bench, by("n", 1)), Ok([Some(ErrorCode::StaleMemberEpoch); 2]));
    bench.assert_replayable();
}

/// contract 87: fetching takes the very epoch, or nothing at all.
#[test]
fn fetches_use_the_member_epoch() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.joined(&[("m", &["a"])]);
    let check = |id, epoch| bench.group().check_fetch(id, epoch).err();
    assert_eq!(check(Some("m"), 1), None);
    assert_eq!(check(None, -1), None);
    assert_eq!(check(Some("m"), 0), Some(ErrorCode::StaleMemberEpoch));
    assert_eq!(check(Some("m"), 2), Some(ErrorCode::StaleMemberEpoch));
    assert_eq!(check(Some("n"), 1), Some(ErrorCode::UnknownMemberId));
    assert_eq!(check(None, 1), Some(ErrorCode::UnknownMemberId));
}
