//! InitProducerId (22) without a transactional id: the part of contract 89 that idempotent producers need.

use std::collections::BTreeSet;

use kafka_protocol::messages::{InitProducerIdRequest, TransactionalId};
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{code, text};

use super::{connect, start};

#[test]
fn every_producer_gets_an_id_that_nobody_had() {
    // contract 89: across connections, a graceful stop and kill −9.
    let (mut broker, mut client) = start();
    let mut seen = BTreeSet::new();
    let mut take = |client: &mut RawClient| {
        let (producer_id, epoch) = client.init_producer_id();
        assert!(producer_id >= 0 && epoch == 0);
        assert!(seen.insert(producer_id), "{producer_id} was given twice");
    };
    for round in 0..4 {
        for _ in 0..20 {
            take(&mut client);
            take(&mut connect(&broker));
        }
        match round % 2 {
            0 => broker.kill9(),
            _ => assert!(broker.terminate().success()),
        }
        broker.restart();
        client = connect(&broker);
    }
}

#[test]
fn an_empty_transactional_id_is_refused() {
    // contract 89
    let (_broker, mut client) = start();
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(""))))
        .with_transaction_timeout_ms(1000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    assert_eq!(client.call(4, &request).error_code, code::INVALID_REQUEST);
}

#[test]
fn a_transactional_id_finds_no_coordinator_yet() {
    let (_broker, mut client) = start();
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text("tx"))))
        .with_transaction_timeout_ms(1000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let reply = client.call(4, &request);
    assert_eq!(
        (reply.error_code, reply.producer_id.0),
        (code::COORDINATOR_NOT_AVAILABLE, -1)
    );
}
