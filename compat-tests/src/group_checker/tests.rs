//! The checker finds what is planted, and nothing in a history without faults.

use super::*;

/// Two slots of one group, two places, one reader.
#[derive(Default)]
struct History(Vec<Event>);

const READER: u64 = 1;

impl History {
    fn add(&mut self, event: Event) -> &mut History {
        self.0.push(event);
        self
    }

    fn invoke(&mut self, op: i64) -> &mut History {
        let (place, claim) = (0, Claim::Nobody);
        self.add(Event::CommitInvoke { op, place, claim })
    }

    fn ok(&mut self, op: i64) -> &mut History {
        self.add(Event::CommitOk { op })
    }

    fn committed(&mut self, op: i64) -> &mut History {
        self.invoke(op).ok(op)
    }

    fn unknown(&mut self, op: i64) -> &mut History {
        self.add(Event::CommitUnknown { op })
    }

    fn killed(&mut self) -> &mut History {
        self.add(Event::Killed)
    }

    fn ask(&mut self) -> &mut History {
        let (reader, place) = (READER, 0);
        self.add(Event::FetchInvoke { reader, place })
    }

    fn find(&mut self, op: i64) -> &mut History {
        let (reader, place) = (READER, 0);
        let found = Some(Committed {
            offset: op,
            leader_epoch: leader_epoch_of(op),
            metadata: metadata_of(op),
        });
        self.add(Event::FetchOk { reader, place, found })
    }

    fn read(&mut self, op: i64) -> &mut History {
        self.ask().find(op)
    }

    fn read_nothing(&mut self) -> &mut History {
        let (reader, place, found) = (READER, 0, None);
        self.ask().add(Event::FetchOk { reader, place, found })
    }

    fn synced(&mut self, slot: usize, generation: i32, assigned: &[usize]) -> &mut History {
        let assigned = assigned.to_vec();
        self.add(Event::RoundInvoke { slot }).add(Event::SyncOk {
            slot,
            generation,
            assigned,
        })
    }

    fn beat(&mut self, slot: usize, owned: &[usize]) -> &mut History {
        let owned = owned.to_vec();
        self.add(Event::HeartbeatInvoke { slot, owned })
    }

    fn beaten(&mut self, slot: usize, epoch: i32, assigned: Option<&[usize]>) -> &mut History {
        let assigned = assigned.map(<[usize]>::to_vec);
        self.add(Event::HeartbeatOk { slot, epoch, assigned })
    }

    fn faults(&self) -> Vec<Fault> {
        check(2, &[0, 0], &self.0)
    }

    fn expect(&self, fault: Fault) {
        assert_eq!(self.faults(), [fault]);
    }

    fn expect_none(&self) {
        assert_eq!(self.faults(), []);
    }
}

#[test]
fn the_last_acknowledged_commit_is_what_a_restart_returns() {
    let mut history = History::default();
    history
        .read_nothing()
        .committed(1)
        .committed(2)
        .killed()
        .read(2)
        .read(2);
    history.expect_none();
}

#[test]
fn an_older_commit_is_found() {
    let mut history = History::default();
    history.committed(1).committed(2).killed().read(1);
    let (place, op, newest) = (0, 1, 2);
    history.expect(Fault::WentBack { place, op, newest });
}

#[test]
fn an_acknowledged_commit_is_forgotten() {
    let mut history = History::default();
    history.committed(1).killed().read_nothing();
    let (place, newest) = (0, 1);
    history.expect(Fault::Forgotten { place, newest });
}

#[test]
fn an_ambiguous_commit_may_be_there_or_not() {
    for there in [1, 2] {
        let mut history = History::default();
        history.committed(1).invoke(2).unknown(2).killed().read(there);
        history.expect_none();
    }
    let mut history = History::default();
    history.invoke(1).unknown(1).killed().read_nothing();
    history.expect_none();
}

#[test]
fn what_was_seen_once_stays() {
    let mut history = History::default();
    history
        .committed(1)
        .invoke(2)
        .unknown(2)
        .killed()
        .read(2)
        .killed()
        .read(1);
    let (place, op, newest) = (0, 1, 2);
    history.expect(Fault::WentBack { place, op, newest });
    let mut history = History::default();
    history.invoke(1).unknown(1).killed().read(1).read_nothing();
    history.expect(Fault::Forgotten { place: 0, newest: 1 });
}

#[test]
fn an_ambiguous_commit_of_an_earlier_life_does_not_come_back() {
    let mut history = History::default();
    history.invoke(1).unknown(1).killed().committed(2).killed().read(1);
    let (place, op, newest) = (0, 1, 2);
    history.expect(Fault::WentBack { place, op, newest });
}

#[test]
fn an_answer_that_says_nothing_leaves_the_commit_open_within_one_life() {
    // "Timed out": it may still be written behind the next one.
    let mut history = History::default();
    history.invoke(1).unknown(1).committed(2).read(1);
    history.expect_none();
}

#[test]
fn commits_in_flight_together_may_end_in_any_order() {
    for there in [1, 2] {
        let mut history = History::default();
        history.invoke(1).invoke(2).ok(1).ok(2).killed().read(there);
        history.expect_none();
    }
}

#[test]
fn a_fetch_is_judged_by_what_was_known_when_it_was_sent() {
    let mut history = History::default();
    history.committed(1).ask().committed(2).find(1);
    history.expect_none();
}

#[test]
fn refused_and_invented_offsets_are_found() {
    let mut history = History::default();
    history.committed(1).invoke(2);
    history.add(Event::CommitRefused { op: 2, code: 22 }).read(2);
    history.expect(Fault::RefusedButThere {
        place: 0,
        op: 2,
        code: 22,
    });
    let mut history = History::default();
    history.committed(1).read(7);
    history.expect(Fault::NeverCommitted { place: 0, offset: 7 });
}

#[test]
fn the_commit_of_another_partition_is_found() {
    let mut history = History::default();
    let (op, claim) = (5, Claim::Nobody);
    history.add(Event::CommitInvoke { op, place: 1, claim }).ok(5).read(5);
    history.expect(Fault::NeverCommitted { place: 0, offset: 5 });
}

#[test]
fn a_mixture_of_two_commits_is_found() {
    let mut history = History::default();
    let (reader, place) = (READER, 0);
    let found = Committed {
        offset: 2,
        leader_epoch: leader_epoch_of(2),
        metadata: metadata_of(1),
    };
    history.committed(1).committed(2).ask();
    let answer = Some(found.clone());
    history.add(Event::FetchOk {
        reader,
        place,
        found: answer,
    });
    history.expect(Fault::Garbled { place, found });
}

#[test]
fn readers_may_be_told_to_wait_and_nothing_else() {
    let (reader, place) = (READER, 0);
    let mut history = History::default();
    for code in NOT_YET {
        history.ask().add(Event::FetchRefused { reader, place, code });
    }
    history.expect_none();
    history.ask().add(Event::FetchRefused { reader, place, code: 3 });
    history.expect(Fault::FetchRefused { place, code: 3 });
}

#[test]
fn a_generation_that_goes_back_is_found() {
    let mut history = History::default();
    history.synced(0, 5, &[0]).killed();
    history
        .add(Event::RoundInvoke { slot: 1 })
        .add(Event::JoinOk { slot: 1, generation: 4 });
    history.expect(Fault::GenerationWentBack {
        slot: 1,
        was: 5,
        now: 4,
    });
    // Nobody had an assignment of generation 6 yet: it may be given again.
    let mut history = History::default();
    history.synced(0, 5, &[0]).add(Event::RoundInvoke { slot: 1 });
    for generation in [6, 6] {
        history.add(Event::JoinOk { slot: 1, generation });
    }
    history.synced(1, 6, &[0]);
    history.expect_none();
}

#[test]
fn a_late_sync_of_an_old_generation_is_found() {
    let mut history = History::default();
    history.synced(0, 6, &[0]).synced(1, 5, &[1]);
    history.expect(Fault::GenerationWentBack {
        slot: 1,
        was: 6,
        now: 5,
    });
    // In flight before anybody knew of 6.
    let mut history = History::default();
    history.add(Event::RoundInvoke { slot: 1 }).synced(0, 6, &[0]);
    let (slot, generation, assigned) = (1, 5, vec![1]);
    history.add(Event::SyncOk {
        slot,
        generation,
        assigned,
    });
    history.expect_none();
}

#[test]
fn two_owners_in_a_generation_are_found() {
    let mut history = History::default();
    history
        .synced(0, 5, &[0])
        .synced(1, 5, &[1])
        .synced(0, 6, &[0, 1])
        .synced(1, 6, &[1]);
    history.expect(Fault::TwoOwners {
        place: 1,
        slots: (0, 1),
    });
}

#[test]
fn an_assignment_that_changes_within_a_generation_is_found() {
    let mut history = History::default();
    history.synced(0, 5, &[0]).killed().synced(0, 5, &[0]);
    history.expect_none();
    history.synced(0, 5, &[]);
    history.expect(Fault::AssignmentChanged { slot: 0, generation: 5 });
}

#[test]
fn a_commit_of_an_old_generation_is_found() {
    let old = Claim::Generation { slot: 0, generation: 5 };
    let mut history = History::default();
    history.synced(0, 5, &[0]);
    history.add(Event::CommitInvoke {
        op: 1,
        place: 0,
        claim: old,
    });
    history.synced(1, 6, &[0]).ok(1);
    history.expect_none();
    history.add(Event::CommitInvoke {
        op: 2,
        place: 0,
        claim: old,
    });
    history.ok(2);
    history.expect(Fault::OldGenerationCommitted {
        op: 2,
        generation: 5,
        known: 6,
    });
}

#[test]
fn a_partition_moves_when_its_owner_gave_it_up() {
    let mut history = History::default();
    history.beat(0, &[]).beaten(0, 1, Some(&[0, 1]));
    history.beat(1, &[]).beaten(1, 2, Some(&[]));
    // Told to give one up, and only then does the other get it.
    history.beat(0, &[0, 1]).beaten(0, 1, Some(&[0]));
    history.beat(0, &[0]).beaten(0, 2, None);
    history.beat(1, &[]).beaten(1, 2, Some(&[1]));
    history.beat(0, &[0]).beaten(0, 2, None);
    history.expect_none();
}

#[test]
fn a_partition_that_its_owner_still_uses_is_found() {
    let mut history = History::default();
    history.beat(0, &[]).beaten(0, 1, Some(&[0, 1]));
    history.beat(1, &[]).beaten(1, 2, Some(&[1]));
    history.expect_none();
    history.beat(0, &[0, 1]).beaten(0, 2, None);
    history.expect(Fault::TwoOwners {
        place: 1,
        slots: (0, 1),
    });
}

#[test]
fn a_commit_of_a_lost_partition_is_found() {
    let mut history = History::default();
    history.beat(0, &[]).beaten(0, 1, Some(&[0]));
    history.beat(1, &[]).beaten(1, 2, Some(&[0]));
    let (op, place, claim) = (1, 0, Claim::Epoch { slot: 0 });
    history.add(Event::CommitInvoke { op, place, claim }).ok(1);
    history.expect(Fault::TwoOwners {
        place: 0,
        slots: (0, 1),
    });
}

#[test]
fn who_was_fenced_lost_its_partitions_before_it_knew() {
    let mut history = History::default();
    history.beat(0, &[]).beaten(0, 7, Some(&[0]));
    history.beat(1, &[]).beaten(1, 8, Some(&[0]));
    history.beat(0, &[0]).add(Event::Released { slot: 0 });
    history.beat(0, &[]).beaten(0, 8, Some(&[]));
    history.expect_none();
}

#[test]
fn a_group_that_begins_its_epochs_anew_is_found() {
    let mut history = History::default();
    history.beat(0, &[]).beaten(0, 7, Some(&[0])).killed();
    history.beat(1, &[]).beaten(1, 1, Some(&[]));
    history.expect(Fault::GenerationWentBack {
        slot: 1,
        was: 7,
        now: 1,
    });
    // Who is there already may be behind the others for a while.
    let mut history = History::default();
    history.beat(0, &[]).beaten(0, 7, Some(&[0]));
    history.beat(1, &[]).beaten(1, 8, Some(&[]));
    history.beat(0, &[0]).beaten(0, 7, None);
    history.expect_none();
}

#[test]
fn an_epoch_that_goes_back_is_found() {
    let mut history = History::default();
    history.beat(0, &[]).beaten(0, 7, Some(&[0])).killed();
    history.beat(0, &[0]).beaten(0, 6, None);
    history.expect(Fault::EpochWentBack {
        slot: 0,
        was: 7,
        now: 6,
    });
}

#[test]
#[should_panic(expected = "op 9 has no invoke")]
fn an_answer_without_a_request_is_a_bug_of_the_recorder() {
    History::default().ok(9).faults();
}
