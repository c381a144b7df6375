//! What a group of consumers may have printed, checked line by line. Pure: no processes, no clock.
//!
//! What a member reads of a partition falls into *runs* of contiguous offsets: one begins with the first record after each
//! `assigned` line that has the partition, where the member was or where the group's commit is. Runs are ordered by those lines:
//! a member that was cut off for longer than its session reads on under an old line, and owns nothing any more.
//!
//! Found are: offsets that were skipped (within a run, or between a run and all that was read before it), records read
//! again below what was committed before, a commit that was accepted from a member whose partition already had a new
//! owner (two owners at once), anything read again after a graceful stop, records of partitions that are somebody else's,
//! values that change or turn up in another partition.
//!
//! Lines of one member come in the order in which it printed them. Between members they may come a little late, so no
//! rule depends on the order of two members' lines, but for who was assigned a partition first.

use std::collections::{BTreeMap, BTreeSet};

/// Number of partitions of the topic; value i belongs to partition i mod this.
pub const PARTITIONS: i32 = 6;

/// A member's name, new with each start of a program.
pub type Member = String;

/// What a program says, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// All partitions that it owns from now on.
    Assigned(BTreeSet<i32>),
    /// A record that it was given.
    Record {
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
        /// The number that the producer sent.
        value: i64,
    },
    /// A commit that the broker acknowledged.
    Committed {
        /// Partition.
        partition: i32,
        /// The offset to be read next.
        offset: i64,
    },
    /// It left the group gracefully.
    Closed,
}

impl Line {
    /// Reads a line as the programs print it; the error is the line.
    pub fn parse(line: &str) -> Result<Line, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| text.parse::<i64>().map_err(|_| line.to_owned());
        let partition = |text: &str| match text.parse::<i32>() {
            Ok(partition) if (0..PARTITIONS).contains(&partition) => Ok(partition),
            _ => Err(line.to_owned()),
        };
        Ok(match words[..] {
            ["assigned"] => Line::Assigned(BTreeSet::new()),
            ["assigned", list] => Line::Assigned(list.split(',').map(partition).collect::<Result<_, _>>()?),
            ["record", p, offset, value] => Line::Record {
                partition: partition(p)?,
                offset: number(offset)?,
                value: number(value)?,
            },
            ["committed", p, offset] => Line::Committed {
                partition: partition(p)?,
                offset: number(offset)?,
            },
            ["closed"] => Line::Closed,
            _ => return Err(line.to_owned()),
        })
    }
}

/// One thing that happened, in the order in which the driver saw it.
#[derive(Clone, Debug)]
pub enum Event {
    /// Values `first..first + count` were acknowledged.
    Produced {
        /// First value.
        first: i64,
        /// How many.
        count: i64,
    },
    /// A member printed a line.
    Said(Member, Line),
    /// A member was killed, or its process ended; what it owned is nobody's.
    Ended(Member),
}

/// What must not have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants' own docs name the fields")]
pub enum Fault {
    /// `member` was given `offset` where `expected` was next.
    Skipped {
        member: Member,
        partition: i32,
        expected: i64,
        offset: i64,
    },
    /// `member` began at `offset`, though `committed` was acknowledged to `by`, who owned the partition before.
    ReadBelowCommit {
        member: Member,
        partition: i32,
        offset: i64,
        by: Member,
        committed: i64,
    },
    /// `member` got a commit acknowledged that is ahead of where `owner` began, who owned the partition by then.
    TwoOwners {
        member: Member,
        partition: i32,
        committed: i64,
        owner: Member,
        began: i64,
    },
    /// `member` was given `offset` again, which `before` had read and committed in closing.
    ReadAgainAfterStop {
        member: Member,
        partition: i32,
        offset: i64,
        before: Member,
    },
    /// `member` was given a record of, or committed, a partition that its last `assigned` line does not have.
    NotItsOwn {
        member: Member,
        partition: i32,
        offset: i64,
    },
    /// The value at an offset is another one than was read there before, or belongs elsewhere, or was never sent.
    WrongValue {
        member: Member,
        partition: i32,
        offset: i64,
        value: i64,
    },
    /// `member` committed beyond what it read.
    CommittedUnread {
        member: Member,
        partition: i32,
        committed: i64,
    },
    /// `member` was told that a commit is acknowledged which is behind an earlier one of its own, without having read anew.
    CommitWentBack {
        member: Member,
        partition: i32,
        from: i64,
        to: i64,
    },
}

/// Contiguous offsets that one member read of one partition under one assignment.
#[derive(Clone, Debug)]
struct Run {
    member: Member,
    /// Number of the assignment, in the order of all `assigned` lines.
    assignment: u64,
    began: i64,
    /// The offset to be read next.
    next: i64,
    committed: Option<i64>,
    /// Its member left gracefully: it has committed all it read.
    closed: bool,
}

#[derive(Clone, Debug, Default)]
struct Partition {
    values: BTreeMap<i64, i64>,
    /// In the order of their assignments.
    runs: Vec<Run>,
}

#[derive(Clone, Debug, Default)]
struct Owner {
    /// `None` before the first `assigned` line.
    owns: Option<BTreeSet<i32>>,
    /// Number of that line among all of them.
    assignment: u64,
}

/// Applies events, collects faults, knows who owns and who saw what.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    partitions: BTreeMap<i32, Partition>,
    members: BTreeMap<Member, Owner>,
    assignments: u64,
    missing: BTreeSet<i64>,
    seen: BTreeSet<i64>,
    largest_read: BTreeMap<Member, i64>,
    faults: Vec<Fault>,
}

/// Checks a whole history.
pub fn check(history: &[Event]) -> Checker {
    let mut checker = Checker::default();
    for event in history {
        checker.apply(event);
    }
    checker
}

impl Checker {
    /// Takes the next event.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Produced { first, count } => {
                let values = *first..first + count;
                self.missing.extend(values.filter(|value| !self.seen.contains(value)));
            }
            Event::Ended(member) => {
                self.members.remove(member);
            }
            Event::Said(member, Line::Assigned(owns)) => {
                self.assignments += 1;
                let owner = Owner {
                    owns: Some(owns.clone()),
                    assignment: self.assignments,
                };
                self.members.insert(member.clone(), owner);
            }
            Event::Said(
                member,
                Line::Record {
                    partition,
                    offset,
                    value,
                },
            ) => {
                self.value(member, *partition, *offset, *value);
                self.record(member, *partition, *offset);
            }
            Event::Said(member, Line::Committed { partition, offset }) => self.committed(member, *partition, *offset),
            Event::Said(member, Line::Closed) => {
                let last = self.partitions.values_mut().filter_map(|p| p.runs.last_mut());
                last.filter(|run| run.member == *member)
                    .for_each(|run| run.closed = true);
                self.members.remove(member);
            }
        }
    }

    /// The faults that no later line can make good.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Runs that began beyond all that earlier runs of their partition read. Lines of another member that are on their way
    /// may still close such a gap: it is a fault once all members are quiet.
    pub fn gaps(&self) -> Vec<Fault> {
        let mut gaps = Vec::new();
        for (partition, state) in &self.partitions {
            let mut expected = 0;
            for run in &state.runs {
                if run.began > expected {
                    gaps.push(Fault::Skipped {
                        member: run.member.clone(),
                        partition: *partition,
                        expected,
                        offset: run.began,
                    });
                }
                expected = expected.max(run.next);
            }
        }
        gaps
    }

    /// Acknowledged values that no member printed.
    pub fn missing(&self) -> &BTreeSet<i64> {
        &self.missing
    }

    /// What each living member said last that it owns.
    pub fn owners(&self) -> BTreeMap<&str, BTreeSet<i32>> {
        let owners = self.members.iter();
        owners
            .filter_map(|(member, owner)| Some((member.as_str(), owner.owns.clone()?)))
            .collect()
    }

    /// Whether exactly these members own partitions, equally many each, all of them, none twice.
    pub fn is_settled(&self, members: &[&str]) -> bool {
        let owners = self.owners();
        let owning: BTreeSet<&str> = owners
            .iter()
            .filter(|(_, owns)| !owns.is_empty())
            .map(|(m, _)| *m)
            .collect();
        let all: BTreeSet<i32> = owners.values().flatten().copied().collect();
        let share = PARTITIONS as usize / members.len();
        owning == members.iter().copied().collect()
            && all.len() == PARTITIONS as usize
            && owning.iter().all(|member| owners[member].len() == share)
    }

    /// The largest value that a member was given.
    pub fn largest_read(&self, member: &str) -> Option<i64> {
        self.largest_read.get(member).copied()
    }

    /// Whether everything that was read is committed.
    pub fn is_committed(&self) -> bool {
        self.partitions.values().all(|state| {
            let end = state.runs.iter().map(|run| run.next).max();
            state.runs.iter().any(|run| run.committed == end)
        })
    }

    /// How many records were read more than once, which commits allow after a rebalance or a crash.
    pub fn duplicates(&self) -> i64 {
        let read = |p: &Partition| p.runs.iter().map(|run| run.next - run.began).sum::<i64>();
        let different = |p: &Partition| p.values.len() as i64;
        self.partitions.values().map(|p| read(p) - different(p)).sum()
    }

    fn owns(&self, member: &str, partition: i32) -> bool {
        let owner = self.members.get(member);
        owner
            .and_then(|owner| owner.owns.as_ref())
            .is_some_and(|owns| owns.contains(&partition))
    }

    fn value(&mut self, member: &str, partition: i32, offset: i64, value: i64) {
        self.seen.insert(value);
        self.missing.remove(&value);
        let largest = self.largest_read.entry(member.to_owned()).or_insert(value);
        *largest = value.max(*largest);
        let known = self
            .partitions
            .entry(partition)
            .or_default()
            .values
            .insert(offset, value);
        // A value may be printed before its producer says that it is done: only where it belongs is known at once.
        if known.is_some_and(|known| known != value) || value.rem_euclid(i64::from(PARTITIONS)) != i64::from(partition)
        {
            self.faults.push(Fault::WrongValue {
                member: member.to_owned(),
                partition,
                offset,
                value,
            });
        }
    }

    fn record(&mut self, member: &str, partition: i32, offset: i64) {
        if !self.owns(member, partition) {
            return self.not_its_own(member, partition, offset);
        }
        let assignment = self.members[member].assignment;
        let runs = &mut self.partitions.entry(partition).or_default().runs;
        let Some(run) = runs.iter_mut().find(|run| run.assignment == assignment) else {
            return self.faults.extend(begin(runs, member, assignment, partition, offset));
        };
        if run.next != offset {
            self.faults.push(Fault::Skipped {
                member: member.to_owned(),
                partition,
                expected: run.next,
                offset,
            });
        }
        run.next = offset + 1;
    }

    fn committed(&mut self, member: &str, partition: i32, committed: i64) {
        if !self.owns(member, partition) {
            return self.not_its_own(member, partition, committed);
        }
        let assignment = self.members[member].assignment;
        let runs = &mut self.partitions.entry(partition).or_default().runs;
        let of_member = runs.iter().rposition(|run| run.member == member);
        // Some libraries commit where they stand, whether they read anything there under this assignment or not.
        let stands = |run: &Run| run.assignment != assignment && run.next < committed;
        let Some(at) = of_member.filter(|at| !stands(&runs[*at])) else {
            return;
        };
        let later = runs[at + 1..].iter().map(|run| (run.began, run.member.clone())).min();
        let run = &mut runs[at];
        let from = run.committed.unwrap_or(run.began);
        let member = member.to_owned();
        if committed > run.next {
            self.faults.push(Fault::CommittedUnread {
                member,
                partition,
                committed,
            });
        } else if let Some((began, owner)) = later.filter(|(began, _)| committed > *began) {
            self.faults.push(Fault::TwoOwners {
                member,
                partition,
                committed,
                owner,
                began,
            });
        } else if committed < from {
            self.faults.push(Fault::CommitWentBack {
                member,
                partition,
                from,
                to: committed,
            });
        } else {
            run.committed = Some(committed);
        }
    }

    fn not_its_own(&mut self, member: &str, partition: i32, offset: i64) {
        self.faults.push(Fault::NotItsOwn {
            member: member.to_owned(),
            partition,
            offset,
        });
    }
}

/// Begins a run at `offset`; the faults are what the runs of earlier assignments forbid.
fn begin(runs: &mut Vec<Run>, member: &str, assignment: u64, partition: i32, offset: i64) -> Vec<Fault> {
    let mut faults = Vec::new();
    let at = runs.partition_point(|run| run.assignment < assignment);
    let commits = runs[..at].iter().filter_map(|run| Some((run.committed?, &run.member)));
    if let Some((committed, by)) = commits.max().filter(|(committed, _)| *committed > offset) {
        faults.push(Fault::ReadBelowCommit {
            member: member.to_owned(),
            partition,
            offset,
            by: by.clone(),
            committed,
        });
    }
    let stopped = runs[..at].iter().find(|run| run.closed && run.next > offset);
    if let Some(before) = stopped.map(|run| run.member.clone()) {
        faults.push(Fault::ReadAgainAfterStop {
            member: member.to_owned(),
            partition,
            offset,
            before,
        });
    }
    let run = Run {
        member: member.to_owned(),
        assignment,
        began: offset,
        next: offset + 1,
        committed: None,
        closed: false,
    };
    runs.insert(at, run);
    faults
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
