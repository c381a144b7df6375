//! Every client library that people use, through one scenario: share, join, kill, a broker's crash, a restart.
//!
//! A row of the table is a test of its own. Needs the toolchains of all languages (`make install-test`): a missing one is a
//! failure that says what to install. `CLIENT_TESTS_AGAINST_KAFKA=1` runs them against Apache Kafka: what fails there is
//! wrong in the test.

use std::collections::BTreeSet;

use streamhouse_compat_tests::client_matrix::{driver, row, rows};

/// A test for each row, and the list of them: libtest cannot make tests from a table at run time.
macro_rules! plays {
    ($($name:ident)*) => {
        const PLAYED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                driver::play(&row(stringify!($name)));
            }
        )*
    };
}

plays! {
    rdkafka_eager
    rdkafka_cooperative
    rdkafka_consumer
    confluent_kafka_python_eager
    confluent_kafka_python_cooperative
    confluent_kafka_python_consumer
    kafka_python_2_0_eager
    kafka_python_2_eager
    kafka_python_3_eager
    kafka_python_3_cooperative
    aiokafka_eager
    franz_go_eager
    franz_go_cooperative
    franz_go_consumer
    sarama_eager
    kafka_go_eager
    kafkajs_eager
    confluent_javascript_eager
    confluent_javascript_cooperative
    confluent_javascript_consumer
    java_eager
    java_cooperative
    java_consumer
}

#[test]
fn every_row_is_played() {
    let rows = rows();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len(), "two rows have one name");
    assert_eq!(names, PLAYED.iter().copied().collect());
    for row in rows {
        println!("{:12} {:40} {}", row.language, row.name, row.library);
    }
}
