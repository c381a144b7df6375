//! Subscriptions by pattern: contract 82 and 86.

use super::*;

fn joining_by(id: &str, regex: &str) -> ConsumerGroupHeartbeatRequest {
    joining(id, &[])
        .with_subscribed_topic_names(None)
        .with_subscribed_topic_regex(Some(text(regex)))
}

/// contract 82: the pattern is looked up beside the heartbeat; the next one brings the topics.
#[test]
fn a_pattern_is_looked_up() {
    let mut bench = Bench::new(&[("ab", 1), ("abc", 2), ("b", 1)]);
    let reply = bench.beat(&joining_by("m", "ab.?"));
    assert_eq!(
        (reply.error_code, reply.member_epoch, bench.assigned(&reply)),
        (0, 1, Some(BTreeSet::new()))
    );
    bench.advance(0);
    assert_eq!(kinds(&bench.last), ["regex", "epoch"]);
    let reply = bench.beat(&living("m", 1));
    assert_eq!(
        (reply.member_epoch, bench.assigned(&reply)),
        (2, Some(bench.topics.all(&["ab", "abc"])))
    );
    let resolved = &bench.group().regexes["ab.?"];
    let version = bench.topics.version as i64;
    assert_eq!((resolved.version, resolved.timestamp_ms), (version, bench.now_ms));
    bench.assert_replayable();
}

/// contract 86: a pattern that is none is 128, at any time.
#[test]
fn a_bad_pattern_is_128() {
    let mut bench = Bench::new(&[("ab", 1)]);
    assert_eq!(
        bench.refused(&joining_by("m", "(")),
        ErrorCode::InvalidRegularExpression
    );
    bench.beat(&joining_by("m", "a.*"));
    let change = living("m", 1).with_subscribed_topic_regex(Some(text("a)(b")));
    assert_eq!(bench.refused(&change), ErrorCode::InvalidRegularExpression);
    assert_eq!(bench.group().members["m"].subscription.regex.as_deref(), Some("a.*"));
}

/// A member may want names and a pattern; who has a pattern that is known gets its topics at once.
#[test]
fn names_and_patterns_add_up() {
    let mut bench = Bench::new(&[("ab", 1), ("abc", 2), ("z", 1)]);
    bench.beat(&joining_by("m", "ab.*"));
    bench.advance(0);
    bench.settle(["m"].into_iter());
    let both = joining("n", &["z", "ab"]).with_subscribed_topic_regex(Some(text("ab.*")));
    assert_eq!(bench.beat(&both).member_epoch, 3);
    bench.settle(["m", "n"].into_iter());
    let (m, n) = (bench.has("m"), bench.has("n"));
    assert!(n.contains(&("z".to_owned(), 0)));
    assert_eq!(&m | &n, bench.topics.all(&["ab", "abc", "z"]));
    assert_eq!((m.len(), n.len()), (2, 2));
    bench.assert_replayable();
}

/// New topics are found, but look-ups are 10 s apart, and the group moves only when something matched.
#[test]
fn new_topics_are_found() {
    let mut bench = Bench::new(&[("a1", 1)]);
    bench.beat(&joining_by("m", "a.*"));
    bench.advance(0);
    bench.settle(["m"].into_iter());
    bench.topics.create("a2", 1);
    bench.beat(&living("m", 2));
    bench.advance(9_000);
    assert_eq!(bench.group().regexes["a.*"].topics.len(), 1, "too early");
    bench.advance(2_000);
    assert_eq!(bench.group().regexes["a.*"].topics.len(), 2);
    let reply = bench.beat(&living("m", 2));
    assert_eq!(
        (reply.member_epoch, bench.assigned(&reply)),
        (3, Some(bench.topics.all(&["a1", "a2"])))
    );
    bench.topics.create("b", 1);
    bench.advance(20_000);
    bench.beat(&living("m", 3));
    bench.advance(0);
    assert_eq!(kinds(&bench.last), ["regex"], "looked up, nothing new");
    // A deleted topic goes without a look-up, since it no longer exists.
    bench.topics.delete("a2");
    let reply = bench.beat(&living("m", 3));
    assert_eq!(bench.assigned(&reply), Some(bench.topics.all(&["a1"])));
    bench.assert_replayable();
}

/// `group.consumer.regex.refresh.interval.ms`: without any change patterns are looked up again after that.
#[test]
fn patterns_are_refreshed() {
    let mut bench = Bench::new(&[("a1", 1)]);
    bench.beat(&joining_by("m", "a.*"));
    bench.advance(0);
    bench.settle(["m"].into_iter());
    let first_ms = bench.group().regexes["a.*"].timestamp_ms;
    for _ in 0..60 {
        bench.advance(10_000);
        bench.beat(&living("m", 2));
    }
    bench.advance(0);
    assert_eq!(bench.group().regexes["a.*"].timestamp_ms, first_ms, "not yet");
    bench.advance(1);
    bench.beat(&living("m", 2));
    bench.advance(0);
    assert_eq!(bench.group().regexes["a.*"].timestamp_ms, first_ms + 600_001);
}

/// A pattern that nobody has any more is forgotten; a member may go from one to another, and to names.
#[test]
fn patterns_come_and_go() {
    let mut bench = Bench::new(&[("a", 1), ("b", 1)]);
    bench.beat(&joining_by("m", "a"));
    bench.beat(&joining_by("n", "a"));
    bench.advance(0);
    bench.settle(["m", "n"].into_iter());
    let epoch = bench.group().epoch();
    bench.beat(&living("n", epoch).with_subscribed_topic_regex(Some(text("b"))));
    assert_eq!(kinds(&bench.last).first(), Some(&"member"));
    assert!(!kinds(&bench.last).contains(&"-regex"), "m has it still");
    bench.advance(10_001);
    bench.settle(["m", "n"].into_iter());
    assert_eq!(
        (bench.has("m"), bench.has("n")),
        (parts(&[("a", 0)]), parts(&[("b", 0)]))
    );
    let epoch = bench.group().epoch();
    let names = living("n", epoch).with_subscribed_topic_regex(Some(text("")));
    bench.beat(&names.with_subscribed_topic_names(Some(vec![text("a").into()])));
    assert!(kinds(&bench.last).contains(&"-regex"));
    bench.beat(&request("m", -1));
    assert_eq!(
        kinds(&bench.last),
        ["-current", "-target", "-member", "-regex", "epoch"]
    );
    bench.settle(["n"].into_iter());
    assert_eq!(bench.has("n"), parts(&[("a", 0)]));
    assert!(bench.group().regexes.is_empty());
    bench.assert_replayable();
}

/// A look-up whose records the log refused is made again.
#[test]
fn a_refused_look_up_is_repeated() {
    let mut bench = Bench::new(&[("a", 1)]);
    bench.beat(&joining_by("m", "a"));
    bench.refuses = true;
    bench.advance(0);
    bench.refuses = false;
    assert!(bench.group().regexes.is_empty());
    bench.beat(&living("m", 1));
    bench.advance(0);
    bench.settle(["m"].into_iter());
    assert_eq!(bench.has("m"), parts(&[("a", 0)]));
    bench.beat(&living("m", 2).with_subscribed_topic_regex(Some(text("a.*"))));
    bench.advance(10_001);
    bench.settle(["m"].into_iter());
    bench.topics.create("a2", 1);
    bench.refuses = true;
    bench.advance(10_001);
    let epoch = bench.group().epoch();
    bench.beat(&living("m", epoch));
    bench.advance(1);
    bench.refuses = false;
    bench.settle(["m"].into_iter());
    bench.advance(1);
    bench.settle(["m"].into_iter());
    assert_eq!(bench.has("m"), bench.topics.all(&["a", "a2"]));
}

/// After a restart patterns are looked up again, since nobody knows what happened to topics in between.
#[test]
fn a_loaded_group_looks_up_again() {
    let mut bench = Bench::new(&[("a", 1)]);
    bench.beat(&joining_by("m", "a.*"));
    bench.advance(0);
    bench.settle(["m"].into_iter());
    let mut live = Vec::new();
    bench.group().live_records(&mut live);
    let mut loaded = Bench::new(&[("a", 1), ("a2", 1)]);
    loaded.now_ms = bench.now_ms + 60_000;
    live.iter().for_each(|record| loaded.replay(record));
    loaded.event(|machine, env| match machine {
        Machine::Consumer(group) => ((), group.loaded(env)),
        _ => unreachable!(),
    });
    assert_eq!(loaded.beat(&living("m", 2)).error_code, 0);
    loaded.advance(0);
    loaded.settle(["m"].into_iter());
    assert_eq!(loaded.has("m"), loaded.topics.all(&["a", "a2"]));
}
