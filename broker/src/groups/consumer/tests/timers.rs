//! Sessions and other deadlines.

use super::*;
use crate::groups::TimerKind;

/// A silent member is gone when its session ends, the others stay.
#[test]
fn a_silent_member_is_fenced() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.joined(&[("m", &["a"]), ("n", &["a"])]);
    bench.advance(SESSION_MS - 1);
    bench.beat(&living("m", 2));
    assert_eq!(bench.group().len(), 2);
    bench.advance(1);
    assert_eq!(bench.group().len(), 1);
    assert_eq!(kinds(&bench.last), ["-current", "-target", "-member", "epoch"]);
    let reply = bench.beat(&living("m", 2));
    assert_eq!(bench.assigned(&reply), Some(bench.topics.all(&["a"])));
    assert_eq!(bench.refused(&living("n", 2)), ErrorCode::UnknownMemberId);
    bench.advance(SESSION_MS);
    assert!(bench.group().is_empty());
    bench.assert_replayable();
}

/// A session timeout of the group's own, within the limits.
#[test]
fn a_group_may_have_its_own_session_timeout() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.topics.overrides.consumer_session_timeout_ms = Some(50_000);
    bench.joined(&[("m", &["a"])]);
    bench.advance(49_999);
    assert_eq!(bench.group().len(), 1);
    bench.advance(1);
    assert_eq!(bench.group().len(), 0);
}

/// One timer a group: heartbeats do not set it, and it fires about once a session timeout.
#[test]
fn heartbeats_set_no_timers() {
    let mut bench = Bench::new(&[("a", 2)]);
    let ids: Vec<String> = (0..50).map(|i| format!("m{i}")).collect();
    for id in &ids {
        bench.beat(&joining(id, &["a"]));
    }
    bench.settle(ids.iter().map(String::as_str));
    let mut set = 0;
    let mut seen = bench.timers.clone();
    for _ in 0..100 {
        bench.advance(5_000);
        for id in &ids {
            let epoch = bench.group().members[&**id].epoch;
            assert_eq!(bench.beat(&living(id, epoch)).error_code, 0);
        }
        if bench.timers != seen {
            set += 1;
            seen = bench.timers.clone();
        }
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(set <= 500 / 40 + 1, "set {set} times in 500 s");
}

/// A loaded group gives its members fresh sessions and deadlines.
#[test]
fn a_loaded_group_starts_its_clocks() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.joined(&[("m", &["a"])]);
    bench.beat(&joining("n", &["a"]));
    bench.beat(&living("m", 1));
    let log = bench.log.clone();
    let mut loaded = Bench::new(&[("a", 2)]);
    loaded.now_ms = bench.now_ms + 3_600_000;
    log.iter().for_each(|record| loaded.replay(record));
    loaded.event(|machine, env| match machine {
        Machine::Consumer(group) => ((), group.loaded(env)),
        _ => unreachable!(),
    });
    loaded.advance(29_999);
    assert_eq!(loaded.group().len(), 2);
    loaded.beat(&living("n", 2));
    loaded.advance(1);
    assert_eq!(loaded.group().len(), 1, "m had its rebalance timeout to give up");
    loaded.advance(SESSION_MS);
    assert!(loaded.group().is_empty());
}

/// Fencing that the log refused is tried again; who spoke meanwhile stays.
#[test]
fn refused_fencing_is_repeated() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.joined(&[("m", &["a"]), ("n", &["a"])]);
    bench.refuses = true;
    bench.advance(SESSION_MS);
    assert_eq!(bench.group().len(), 2);
    bench.beat(&living("m", 2));
    bench.refuses = false;
    bench.advance(1_000);
    assert_eq!(bench.group().members.keys().map(|id| &**id).collect::<Vec<_>>(), ["m"]);
}

/// Timers that fire for nothing do nothing: of a classic group of that name, of a member that is gone.
#[test]
fn stale_timers_do_nothing() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.joined(&[("m", &["a"])]);
    for kind in [
        TimerKind::Join,
        TimerKind::Sync,
        TimerKind::Rebalance,
        TimerKind::Regex,
        TimerKind::Sessions,
    ] {
        bench.event(|machine, env| match machine {
            Machine::Consumer(group) => ((), group.on_timer(env, &kind)),
            _ => unreachable!(),
        });
        assert!(bench.last.is_empty(), "{kind:?}");
    }
    // A session of a join that the log refused is forgotten.
    bench.refuses = true;
    bench.beat(&joining("n", &["a"]));
    bench.refuses = false;
    bench.advance(SESSION_MS - 1_000);
    bench.beat(&living("m", 1));
    bench.advance(2_000);
    assert_eq!(bench.group().len(), 1);
}
