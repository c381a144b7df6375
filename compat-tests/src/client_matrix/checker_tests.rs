//! Histories with and without planted faults.

use super::*;

/// A history from a script: `A: LINE`, `A ended`, `produced FIRST COUNT`. `A: records P FROM..TO` is a record for each offset;
/// the value is as the producers number them.
fn history(script: &str) -> Vec<Event> {
    let mut events = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some((member, said)) = line.split_once(": ") {
            let lines = match said.strip_prefix("records ") {
                Some(records) => records_of(records),
                None => vec![Line::parse(said).expect("a line of a program")],
            };
            events.extend(lines.into_iter().map(|line| Event::Said(member.to_owned(), line)));
        } else if let Some(member) = line.strip_suffix(" ended") {
            events.push(Event::Ended(member.to_owned()));
        } else {
            let numbers: Vec<i64> = line
                .split_whitespace()
                .skip(1)
                .map(|n| n.parse().expect("a number"))
                .collect();
            let (first, count) = (numbers[0], numbers[1]);
            events.push(Event::Produced { first, count });
        }
    }
    events
}

fn records_of(records: &str) -> Vec<Line> {
    let (partition, range) = records.split_once(' ').expect("P FROM..TO");
    let (from, to) = range.split_once("..").expect("FROM..TO");
    let partition: i32 = partition.parse().expect("a partition");
    let offsets = from.parse::<i64>().expect("an offset")..to.parse().expect("an offset");
    let record = |offset| Line::Record {
        partition,
        offset,
        value: offset * i64::from(PARTITIONS) + i64::from(partition),
    };
    offsets.map(record).collect()
}

fn faults(script: &str) -> Vec<Fault> {
    let checker = check(&history(script));
    [checker.faults().to_vec(), checker.gaps()].concat()
}

#[test]
fn lines_are_read_as_they_are_printed() {
    assert_eq!(
        Line::parse("assigned 0,2,4"),
        Ok(Line::Assigned([0, 2, 4].into_iter().collect()))
    );
    assert_eq!(Line::parse("assigned "), Ok(Line::Assigned(BTreeSet::new())));
    let record = Line::Record {
        partition: 5,
        offset: 7,
        value: 47,
    };
    assert_eq!(Line::parse("record 5 7 47"), Ok(record));
    let committed = Line::Committed {
        partition: 1,
        offset: 9,
    };
    assert_eq!(Line::parse("committed 1 9"), Ok(committed));
    assert_eq!(Line::parse("closed"), Ok(Line::Closed));
    for wrong in [
        "",
        "record 1 2",
        "record 6 0 6",
        "assigned 7",
        "assigned x",
        "closed 1",
        "%6|log line",
    ] {
        assert_eq!(Line::parse(wrong), Err(wrong.to_owned()));
    }
}

/// Eager and cooperative rebalances, a crash, a graceful stop: no fault.
#[test]
fn an_ordinary_life_has_no_faults() {
    let script = "
        produced 0 12
        A: assigned 0,1,2,3,4,5
        A: records 0 0..2
        A: committed 0 2
        A: records 1 0..2
        B: assigned 1
        A: assigned 0,2,3,4,5
        B: records 1 0..2
        B: committed 1 1
        B ended
        A: assigned 0,1,2,3,4,5
        A: records 1 1..2
        A: committed 1 2
        A: committed 0 2
        A: closed
        C: assigned 0,1,2,3,4,5
        C: records 0 2..4
        C: committed 0 4";
    assert_eq!(faults(script), []);
    let checker = check(&history(script));
    assert_eq!(checker.duplicates(), 3, "1@0 once more, 1@1 twice more");
    assert_eq!(
        checker.missing(),
        &[2, 3, 4, 5, 8, 9, 10, 11].into_iter().collect(),
        "partitions 2 to 5 were not read"
    );
}

#[test]
fn a_record_that_is_skipped_within_an_assignment() {
    let found = faults("A: assigned 0\nA: records 0 0..3\nA: records 0 4..6");
    let skipped = Fault::Skipped {
        member: "A".to_owned(),
        partition: 0,
        expected: 3,
        offset: 4,
    };
    assert_eq!(found, [skipped]);
}

#[test]
fn a_record_that_is_skipped_between_owners() {
    let found = faults("A: assigned 0\nA: records 0 0..3\nA: committed 0 3\nA ended\nB: assigned 0\nB: records 0 5..6");
    let skipped = Fault::Skipped {
        member: "B".to_owned(),
        partition: 0,
        expected: 3,
        offset: 5,
    };
    assert_eq!(found, [skipped]);
    let found = faults("A: assigned 0\nA: records 0 1..2");
    assert!(
        matches!(found[..], [Fault::Skipped { expected: 0, .. }]),
        "the log begins at 0: {found:?}"
    );
    // The old owner's last lines come late: nothing was skipped.
    let late = "A: assigned 0\nA: records 0 0..3\nB: assigned 0\nB: records 0 5..6\nA: records 0 3..5\nA: assigned";
    assert_eq!(faults(late), []);
}

#[test]
fn a_record_that_is_read_again_below_the_commit() {
    let script = "A: assigned 0\nA: records 0 0..5\nA: committed 0 4\nA ended\nB: assigned 0\n";
    let found = faults(&format!("{script}B: records 0 3..5"));
    let below = Fault::ReadBelowCommit {
        member: "B".to_owned(),
        partition: 0,
        offset: 3,
        by: "A".to_owned(),
        committed: 4,
    };
    assert_eq!(found, [below]);
    assert_eq!(faults(&format!("{script}B: records 0 4..5")), []);
    // The same member after a rebalance.
    let found = faults("A: assigned 0\nA: records 0 0..5\nA: committed 0 4\nA: assigned 0\nA: records 0 0..1");
    assert!(matches!(found[..], [Fault::ReadBelowCommit { .. }]), "{found:?}");
}

#[test]
fn a_commit_of_somebody_who_does_not_own_any_more() {
    let script = "A: assigned 0\nA: records 0 0..5\nB: assigned 0\nB: records 0 0..2\n";
    let found = faults(&format!("{script}A: committed 0 5"));
    let two = Fault::TwoOwners {
        member: "A".to_owned(),
        partition: 0,
        committed: 5,
        owner: "B".to_owned(),
        began: 0,
    };
    assert_eq!(found, [two]);
    // A's commit came before the rebalance, its line after B's: B began where it says.
    let late = "A: assigned 0\nA: records 0 0..5\nB: assigned 0\nB: records 0 3..5\nA: committed 0 3\nA: assigned\nB: committed 0 5";
    assert_eq!(faults(late), []);
}

/// A partition goes to B, who dies, and back to A, who begins where it had ended: that is a new run of A.
#[test]
fn a_partition_may_come_back() {
    let script = "
        A: assigned 0
        A: records 0 0..5
        A: committed 0 5
        A: assigned
        B: assigned 0
        B: records 0 5..8
        B ended
        A: assigned 0
        A: records 0 5..9
        A: committed 0 9";
    assert_eq!(faults(script), []);
}

/// C is away for longer than its session and reads on where it was, though A owns everything by then. That is allowed; a
/// commit of C's is not.
#[test]
fn a_member_that_was_cut_off_reads_on() {
    let script = "
        C: assigned 0
        C: records 0 0..5
        C: committed 0 5
        C: assigned 0
        A: assigned 0
        A: records 0 5..8
        C: records 0 5..7
        A: committed 0 8\n";
    assert_eq!(faults(script), []);
    let found = faults(&format!("{script}C: committed 0 7"));
    assert!(
        matches!(
            found[..],
            [Fault::TwoOwners {
                committed: 7,
                began: 5,
                ..
            }]
        ),
        "{found:?}"
    );
}

#[test]
fn nothing_is_read_again_after_a_graceful_stop() {
    let script = "A: assigned 0\nA: records 0 0..5\nA: committed 0 3\nA: closed\nB: assigned 0\n";
    let again = Fault::ReadAgainAfterStop {
        member: "B".to_owned(),
        partition: 0,
        offset: 3,
        before: "A".to_owned(),
    };
    assert_eq!(faults(&format!("{script}B: records 0 3..5")), [again]);
    assert_eq!(faults(&format!("{script}B: records 0 5..6")), []);
}

#[test]
fn what_is_somebody_elses() {
    let found = faults("A: assigned 0\nA: records 1 0..1\nA: committed 2 1\nB: records 0 0..1");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|fault| matches!(fault, Fault::NotItsOwn { .. })));
}

#[test]
fn values_that_change_or_are_elsewhere() {
    let found = faults("A: assigned 0\nA: record 0 0 0\nA: assigned 0\nA: record 0 0 6\nA: record 0 1 7");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|fault| matches!(fault, Fault::WrongValue { .. })));
}

#[test]
fn commits_that_make_no_sense() {
    let found = faults("A: assigned 0\nA: records 0 0..3\nA: committed 0 4");
    assert!(
        matches!(found[..], [Fault::CommittedUnread { committed: 4, .. }]),
        "{found:?}"
    );
    let found = faults("A: assigned 0\nA: records 0 0..3\nA: committed 0 3\nA: committed 0 2");
    assert!(
        matches!(found[..], [Fault::CommitWentBack { from: 3, to: 2, .. }]),
        "{found:?}"
    );
}

#[test]
fn committed_means_all_that_was_read() {
    let committed = |script: &str| check(&history(script)).is_committed();
    let script = "A: assigned 0,1\nA: records 0 0..3\nA: committed 0 3";
    assert!(committed(script));
    assert!(!committed(&format!("{script}\nA: records 1 0..1")));
    let reread = format!("{script}\nA: records 0 3..5\nB: assigned 0\nB: records 0 3..5");
    assert!(!committed(&reread));
    assert!(committed(&format!("{reread}\nB: committed 0 5")));
}

#[test]
fn settled_means_equal_shares_of_everything() {
    let settled = |script: &str, members: &[&str]| check(&history(script)).is_settled(members);
    assert!(settled("A: assigned 0,1,2\nB: assigned 3,4,5", &["A", "B"]));
    assert!(
        !settled("A: assigned 0,1,2\nB: assigned 2,4,5", &["A", "B"]),
        "2 has two owners, 3 none"
    );
    assert!(
        !settled("A: assigned 0,1,2,3\nB: assigned 3,4,5", &["A", "B"]),
        "two owners"
    );
    assert!(!settled("A: assigned 0,1,2,3\nB: assigned 4,5", &["A", "B"]));
    assert!(!settled(
        "A: assigned 0,1,2\nB: assigned 3,4,5\nC: assigned",
        &["A", "C"]
    ));
    assert!(settled(
        "A: assigned 0,1,2\nB: assigned 3,4,5\nB ended\nA: assigned 0,1,2,3,4,5",
        &["A"]
    ));
    assert!(!settled("A: assigned 0,1,2,3,4,5\nA: closed", &["A"]));
}
