//! ListOffsets (2): contract 58–60.

use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{EARLIEST, LATEST, code, list_offsets_request};
use streamhouse_compat_tests::records::{BatchSpec, Codec, NewRecord};

use super::{connect, start};

/// A batch of records at these times.
fn at(times: &[i64]) -> BatchSpec {
    let base = times[0];
    BatchSpec::new(times.iter().map(|time| NewRecord::value("x").at(time - base)).collect()).base_timestamp(base)
}

fn ask(client: &mut RawClient, version: i16, timestamp: i64) -> (i16, i64, i64) {
    let answer = client
        .call(version, &list_offsets_request("t", 0, timestamp))
        .topics
        .remove(0)
        .partitions
        .remove(0);
    (answer.error_code, answer.timestamp, answer.offset)
}

#[test]
fn special_timestamps() {
    // contract 58
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    assert_eq!(
        ask(&mut client, 9, -3),
        (code::NONE, -1, -1),
        "no record has the largest timestamp"
    );
    client.produce_ok("t", 0, at(&[1000, 5000, 3000]).encode());
    client.produce_ok("t", 0, at(&[2000, 4000]).encode());
    for version in 1..=10 {
        assert_eq!(ask(&mut client, version, LATEST), (code::NONE, -1, 5), "v{version}");
        assert_eq!(ask(&mut client, version, EARLIEST), (code::NONE, -1, 0), "v{version}");
        let expected = |since, found| {
            if version >= since {
                found
            } else {
                (code::UNSUPPORTED_VERSION, -1, -1)
            }
        };
        assert_eq!(
            ask(&mut client, version, -3),
            expected(7, (code::NONE, 5000, 1)),
            "v{version}: max timestamp"
        );
        assert_eq!(
            ask(&mut client, version, -4),
            expected(8, (code::NONE, -1, 0)),
            "v{version}: local log start"
        );
        assert_eq!(
            ask(&mut client, version, -5),
            expected(9, (code::NONE, -1, -1)),
            "v{version}: last tiered"
        );
        assert_eq!(
            ask(&mut client, version, -7).0,
            code::UNSUPPORTED_VERSION,
            "v{version}: unknown"
        );
        assert_eq!(
            ask(&mut client, version, i64::MIN).0,
            code::UNSUPPORTED_VERSION,
            "v{version}: unknown"
        );
    }
    let committed = list_offsets_request("t", 0, LATEST).with_isolation_level(1);
    assert_eq!(
        client.call(9, &committed).topics[0].partitions[0].offset,
        5,
        "the last stable offset"
    );
}

#[test]
fn the_first_record_at_or_after_a_time() {
    // contract 59: timestamps go up and down, in one batch and between batches, compressed or not.
    let times: [&[i64]; 4] = [&[100, 300, 200], &[50], &[250, 400], &[350]];
    for codec in Codec::ALL {
        let (mut broker, mut client) = start();
        client.create_topic("t", 1);
        for batch in times {
            client.produce_ok("t", 0, at(batch).codec(codec).encode());
        }
        for restarted in [false, true] {
            if restarted {
                broker.kill9();
                broker.restart();
                client = connect(&broker);
            }
            let all: Vec<i64> = times.concat();
            for target in (0..450).step_by(25) {
                let first = (0i64..).zip(&all).find(|(_, time)| **time >= target);
                let expected = first.map_or((code::NONE, -1, -1), |(offset, time)| (code::NONE, *time, offset));
                assert_eq!(
                    client.list_offset("t", 0, target),
                    expected,
                    "target {target}, {}",
                    codec.name()
                );
            }
        }
    }
}

#[test]
fn by_time_over_many_segments() {
    // contract 59: the time index, in memory and from disk.
    let (mut broker, mut client) = start();
    client.create_topic_with("t", 1, &[("segment.bytes", "1048576")]);
    let large = "x".repeat(30_000);
    for i in 0..100 {
        let batch = BatchSpec::of(&[&large, &large]).base_timestamp(1_000_000 + i * 1000);
        client.produce_ok("t", 0, batch.encode());
    }
    for restarted in [false, true] {
        if restarted {
            assert!(broker.terminate().success());
            broker.restart();
            client = connect(&broker);
        }
        for i in 0..100 {
            let (time, offset) = (1_000_000 + i * 1000, i * 2);
            assert_eq!(client.list_offset("t", 0, time), (code::NONE, time, offset));
            assert_eq!(client.list_offset("t", 0, time - 999), (code::NONE, time, offset));
        }
        assert_eq!(client.list_offset("t", 0, 1_099_001), (code::NONE, -1, -1));
        assert_eq!(client.list_offset("t", 0, -3), (code::NONE, 1_099_000, 198));
    }
}

#[test]
fn duplicates_epochs_and_unknown_partitions() {
    // contract 60
    let (mut broker, mut client) = start();
    client.create_topic("t", 1);
    client.produce_ok("t", 0, at(&[1000]).encode());
    let old = client.describe_topic("t").partitions[0].leader_epoch;
    broker.kill9();
    broker.restart();
    client = connect(&broker);
    client.produce_ok("t", 0, at(&[2000]).encode());
    let new = client.describe_topic("t").partitions[0].leader_epoch;
    for (target, epoch) in [(1000, old), (2000, new), (EARLIEST, old), (LATEST, new)] {
        let request = list_offsets_request("t", 0, target);
        assert_eq!(
            client.call(4, &request).topics[0].partitions[0].leader_epoch,
            epoch,
            "at {target}"
        );
    }
    let mut twice = list_offsets_request("t", 0, LATEST);
    let again = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(again);
    for answer in &client.call(9, &twice).topics[0].partitions {
        assert_eq!(answer.error_code, code::INVALID_REQUEST);
    }
    for (epoch, expected) in [
        (new, code::NONE),
        (old, code::FENCED_LEADER_EPOCH),
        (new + 1, code::UNKNOWN_LEADER_EPOCH),
    ] {
        let mut request = list_offsets_request("t", 0, LATEST);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        assert_eq!(
            client.call(9, &request).topics[0].partitions[0].error_code,
            expected,
            "epoch {epoch}"
        );
    }
    let absent = client
        .call(9, &list_offsets_request("t", 9, LATEST))
        .topics
        .remove(0)
        .partitions
        .remove(0);
    assert_eq!(
        (absent.error_code, absent.offset),
        (code::UNKNOWN_TOPIC_OR_PARTITION, -1)
    );
}
