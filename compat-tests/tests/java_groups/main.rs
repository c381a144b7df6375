//! Kafka's command line tools for groups and administration, and Kafka Connect, against the real binary.
//!
//! What is asserted is what Apache Kafka's own broker of the same version answers; `JAVA_TESTS_AGAINST_KAFKA=1` runs the tests
//! against it, and what fails there is wrong in the test. A line that differs on purpose says so where it is asserted.
//!
//! Needs `java`, `javac` and `mvn`. Without them these tests fail, unless `SKIP_JAVA_TESTS=1` says that they may be skipped.

mod administration;
mod connect;
mod groups;
mod live_groups;
mod offsets_topic;
mod runner;
mod tools;
