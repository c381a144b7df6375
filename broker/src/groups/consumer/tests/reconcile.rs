//! A partition goes to its new owner only after the old one stopped reporting it: contract 85.

use super::*;
use crate::groups::consumer::ConsumerState;
use crate::groups::consumer::member::MemberState;

/// Members m and n share partitions 0 and 1; n is new and has nothing yet. What m is to give up, and what it keeps.
fn moving() -> (Bench, i32, i32) {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.joined(&[("m", &["a"])]);
    let reply = bench.beat(&joining("n", &["a"]));
    assert_eq!((reply.member_epoch, bench.assigned(&reply)), (2, Some(BTreeSet::new())));
    assert_eq!(bench.group().members["n"].state, MemberState::UnreleasedPartitions);
    let reply = bench.beat(&living("m", 1));
    assert_eq!(reply.member_epoch, 1, "it stays in its epoch until it has given up");
    let kept = bench
        .assigned(&reply)
        .expect("an assignment")
        .into_iter()
        .next()
        .expect("a partition")
        .1;
    assert_eq!(bench.group().members["m"].state, MemberState::UnrevokedPartitions);
    (bench, 1 - kept, kept)
}

/// contract 85: stable → unrevoked → stable on one side, unreleased → stable on the other.
#[test]
fn a_partition_is_given_up_before_it_is_given() {
    let (mut bench, moves, kept) = moving();
    assert_eq!(bench.group().state(), ConsumerState::Reconciling);
    // Neither silence nor a report that has it still is giving up.
    for report in [living("m", 1), bench.owning("m", 1, &[("a", 0), ("a", 1)])] {
        let reply = bench.beat(&report);
        assert_eq!((reply.error_code, reply.member_epoch, reply.assignment), (0, 1, None));
        let reply = bench.beat(&living("n", 2));
        assert_eq!((reply.member_epoch, reply.assignment), (2, None));
    }
    let report = bench.owning("m", 1, &[("a", kept)]);
    let reply = bench.beat(&report);
    assert_eq!(
        (reply.member_epoch, reply.assignment),
        (2, None),
        "what it has did not change any more"
    );
    assert_eq!(kinds(&bench.last), ["current"]);
    let reply = bench.beat(&living("n", 2));
    assert_eq!(bench.assigned(&reply), Some(parts(&[("a", moves)])));
    assert_eq!(bench.group().state(), ConsumerState::Stable);
    bench.assert_replayable();
}

/// contract 85: past the rebalance timeout the old owner is fenced, and the new one goes on.
#[test]
fn who_gives_nothing_up_is_fenced() {
    let (mut bench, ..) = moving();
    for _ in 0..5 {
        bench.advance(5_999);
        assert_eq!(bench.beat(&living("m", 1)).error_code, 0);
        assert_eq!(bench.beat(&living("n", 2)).error_code, 0);
    }
    bench.advance(5);
    assert_eq!(bench.refused(&living("m", 1)), ErrorCode::UnknownMemberId);
    let reply = bench.beat(&living("n", 2));
    assert_eq!(
        (reply.member_epoch, bench.assigned(&reply)),
        (3, Some(bench.topics.all(&["a"])))
    );
    bench.assert_replayable();
}

/// contract 85: who gave up in time is left alone, also when it must give up again in a later epoch.
#[test]
fn who_gave_up_in_time_stays() {
    let (mut bench, _, kept) = moving();
    bench.advance(29_000);
    let report = bench.owning("m", 1, &[("a", kept)]);
    bench.beat(&report);
    bench.beat(&living("n", 2));
    bench.advance(10_000);
    assert_eq!(bench.beat(&living("m", 2)).error_code, 0);
    assert_eq!(
        bench
            .timers
            .keys()
            .filter(|key| key.kind == crate::groups::TimerKind::Rebalance)
            .count(),
        0
    );
}

/// contract 85: a deadline that the log refused to act on is met again.
#[test]
fn fencing_that_the_log_refused_is_repeated() {
    let (mut bench, ..) = moving();
    bench.refuses = true;
    bench.advance(30_000);
    assert_eq!(bench.group().len(), 2);
    bench.refuses = false;
    bench.advance(1_000);
    assert_eq!(bench.group().len(), 1);
}

/// A member that leaves while others wait for its partitions releases them.
#[test]
fn leaving_releases() {
    let (mut bench, ..) = moving();
    bench.beat(&request("m", -1));
    let reply = bench.beat(&living("n", 2));
    assert_eq!(bench.assigned(&reply), Some(bench.topics.all(&["a"])));
}

/// The target moves on while a member still gives up for the one before: it goes to the newest in one step.
#[test]
fn the_newest_target_counts() {
    let (mut bench, moves, kept) = moving();
    bench.beat(&request("n", -1));
    // What it was about to give up is its own again, once it has said that it gave it up or not.
    let report = bench.owning("m", 1, &[("a", kept)]);
    let reply = bench.beat(&report);
    assert_eq!(
        (reply.member_epoch, bench.assigned(&reply)),
        (3, Some(parts(&[("a", kept), ("a", moves)])))
    );
    bench.assert_replayable();
}

/// A topic that is no longer subscribed goes at once, before anything else is looked at.
#[test]
fn what_is_no_longer_subscribed_goes() {
    let mut bench = Bench::new(&[("a", 2), ("b", 2)]);
    bench.joined(&[("m", &["a", "b"])]);
    let change = living("m", 1).with_subscribed_topic_names(Some(vec![text("b").into()]));
    let reply = bench.beat(&change);
    assert_eq!(
        (reply.member_epoch, bench.assigned(&reply)),
        (1, Some(bench.topics.all(&["b"])))
    );
    let report = bench.owning("m", 1, &[("b", 0), ("b", 1)]);
    assert_eq!(bench.beat(&report).member_epoch, 2);
    // While it is giving up b it drops that as well.
    bench.beat(&joining("n", &["b"]));
    bench.beat(&living("m", 2));
    let change = living("m", 2).with_subscribed_topic_names(Some(Vec::new()));
    let reply = bench.beat(&change);
    assert_eq!((reply.member_epoch, bench.assigned(&reply)), (2, Some(BTreeSet::new())));
    assert_eq!(bench.group().members["m"].pending_revocation.len(), 2);
    let report = bench.owning("m", 2, &[]);
    assert_eq!(bench.beat(&report).member_epoch, 4);
    bench.settle(["n"].into_iter());
    assert_eq!(bench.has("n"), bench.topics.all(&["b"]));
    bench.assert_replayable();
}

/// Deleting a topic and a rejoin at once: nothing is told to read what does not exist.
#[test]
fn gone_topics_are_not_assigned() {
    let mut bench = Bench::new(&[("a", 2), ("b", 2)]);
    bench.joined(&[("m", &["a", "b"])]);
    bench.topics.delete("a");
    let reply = bench.beat(&joining("m", &["a", "b"]));
    assert_eq!(
        (reply.member_epoch, bench.assigned(&reply)),
        (2, Some(bench.topics.all(&["b"])))
    );
}

/// A state that a later release wrote: the member is fenced unless it comes with nothing.
#[test]
fn an_unknown_state_starts_anew() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.joined(&[("m", &["a"])]);
    let mut record = bench.group().members["m"].assignment_record(&Arc::from(GROUP));
    if let GroupRecord::ConsumerGroupCurrentMemberAssignment { value: Some(value), .. } = &mut record {
        value.state = 99;
    }
    bench.replay(&record);
    assert_eq!(bench.refused(&living("m", 1)), ErrorCode::FencedMemberEpoch);
    let owning = bench.owning("m", 1, &[("a", 0)]);
    assert_eq!(bench.refused(&owning), ErrorCode::FencedMemberEpoch);
    let reply = bench.beat(&joining("m", &["a"]));
    assert_eq!(
        (reply.error_code, bench.assigned(&reply)),
        (0, Some(bench.topics.all(&["a"])))
    );
}

/// Records of releases without assignment epochs mean the member's epoch.
#[test]
fn assignments_without_epochs_are_read() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.joined(&[("m", &["a"])]);
    let mut record = bench.group().members["m"].assignment_record(&Arc::from(GROUP));
    if let GroupRecord::ConsumerGroupCurrentMemberAssignment { value: Some(value), .. } = &mut record {
        value.member_epoch = 7;
        value
            .assigned_partitions
            .iter_mut()
            .for_each(|topic| topic.assignment_epochs.clear());
    }
    bench.replay(&record);
    assert!(bench.group().members["m"].assigned.iter().all(|owned| owned.epoch == 7));
}
