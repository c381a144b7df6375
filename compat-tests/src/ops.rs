//! The everyday requests, short enough to write in a test. What a test wants to vary it builds itself.

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::raw::RawClient;
use crate::records::{ReadRecord, read_records_of};

/// The error codes that tests name, as Kafka numbers them.
#[allow(missing_docs)]
pub mod code {
    pub const NONE: i16 = 0;
    pub const OFFSET_OUT_OF_RANGE: i16 = 1;
    pub const CORRUPT_MESSAGE: i16 = 2;
    pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    pub const LEADER_NOT_AVAILABLE: i16 = 5;
    pub const REQUEST_TIMED_OUT: i16 = 7;
    pub const MESSAGE_TOO_LARGE: i16 = 10;
    pub const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    pub const INVALID_TOPIC_EXCEPTION: i16 = 17;
    pub const RECORD_LIST_TOO_LARGE: i16 = 18;
    pub const INVALID_REQUIRED_ACKS: i16 = 21;
    pub const INVALID_TIMESTAMP: i16 = 32;
    pub const UNSUPPORTED_VERSION: i16 = 35;
    pub const TOPIC_ALREADY_EXISTS: i16 = 36;
    pub const INVALID_PARTITIONS: i16 = 37;
    pub const INVALID_REPLICATION_FACTOR: i16 = 38;
    pub const INVALID_CONFIG: i16 = 40;
    pub const INVALID_REQUEST: i16 = 42;
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    pub const INVALID_PRODUCER_EPOCH: i16 = 47;
    pub const KAFKA_STORAGE_ERROR: i16 = 56;
    pub const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
    pub const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
    pub const FENCED_LEADER_EPOCH: i16 = 74;
    pub const UNKNOWN_LEADER_EPOCH: i16 = 75;
    pub const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
    pub const INVALID_RECORD: i16 = 87;
    pub const UNKNOWN_TOPIC_ID: i16 = 100;
    pub const INCONSISTENT_TOPIC_ID: i16 = 103;
    pub const FETCH_SESSION_TOPIC_ID_ERROR: i16 = 106;
}

/// A string as the codec wants it.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic name as the codec wants it.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// A topic to create; −1 partitions or replicas: the broker's default.
pub fn new_topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    let configs = configs.iter().map(|(key, value)| {
        CreatableTopicConfig::default()
            .with_name(text(key))
            .with_value(Some(text(value)))
    });
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.collect())
}

/// A produce request of batches to one topic: `(partition, batch)` each.
pub fn produce_request(topic: &str, acks: i16, batches: &[(i32, Bytes)]) -> ProduceRequest {
    let partitions = batches.iter().map(|(partition, batch)| {
        PartitionProduceData::default()
            .with_index(*partition)
            .with_records(Some(batch.clone()))
    });
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(partitions.collect());
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic])
}

/// A partition to fetch from `offset`, up to 1 MiB.
pub fn fetch_partition(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
}

/// A fetch without a session, by name (v ≤ 12): answered at once with what is there.
pub fn fetch_request(topic: &str, partitions: Vec<FetchPartition>) -> FetchRequest {
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![
            FetchTopic::default()
                .with_topic(topic_name(topic))
                .with_partitions(partitions),
        ])
}

/// A ListOffsets request for one partition.
pub fn list_offsets_request(topic: &str, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic])
}

/// ListOffsets' timestamp for the high watermark.
pub const LATEST: i64 = -1;
/// ListOffsets' timestamp for the log start.
pub const EARLIEST: i64 = -2;

impl RawClient {
    /// Creates a topic, which must succeed.
    pub fn create_topic(&mut self, name: &str, partitions: i32) {
        self.create_topic_with(name, partitions, &[]);
    }

    /// Creates a topic with configs, which must succeed.
    pub fn create_topic_with(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let request = CreateTopicsRequest::default()
            .with_topics(vec![new_topic(name, partitions, configs)])
            .with_timeout_ms(30_000);
        let result = self.call(7, &request).topics.remove(0);
        assert_eq!(
            result.error_code,
            code::NONE,
            "create {name}: {:?}",
            result.error_message
        );
    }

    /// Deletes a topic, which must succeed.
    pub fn delete_topic(&mut self, name: &str) {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![topic_name(name)])
            .with_timeout_ms(30_000);
        let result = self.call(5, &request).responses.remove(0);
        assert_eq!(
            result.error_code,
            code::NONE,
            "delete {name}: {:?}",
            result.error_message
        );
    }

    /// Metadata of one topic, without creating it.
    pub fn describe_topic(&mut self, name: &str) -> MetadataResponseTopic {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false);
        self.call(12, &request).topics.remove(0)
    }

    /// The id of a topic, which must exist.
    pub fn topic_id(&mut self, name: &str) -> Uuid {
        let topic = self.describe_topic(name);
        assert_eq!(topic.error_code, code::NONE, "metadata of {name}");
        topic.topic_id
    }

    /// Produces one batch (v9) and returns the partition's answer.
    pub fn produce(&mut self, topic: &str, partition: i32, acks: i16, batch: Bytes) -> PartitionProduceResponse {
        let request = produce_request(topic, acks, &[(partition, batch)]);
        self.call(9, &request).responses.remove(0).partition_responses.remove(0)
    }

    /// Produces one batch with acks=all, which must succeed, and returns its base offset.
    pub fn produce_ok(&mut self, topic: &str, partition: i32, batch: Bytes) -> i64 {
        let answer = self.produce(topic, partition, -1, batch);
        assert_eq!(
            answer.error_code,
            code::NONE,
            "produce to {topic}-{partition}: {:?}",
            answer.error_message
        );
        answer.base_offset
    }

    /// Fetches one partition (v12, by name, at once).
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> PartitionData {
        let request = fetch_request(topic, vec![fetch_partition(partition, offset)]);
        self.call(12, &request).responses.remove(0).partitions.remove(0)
    }

    /// Reads a partition from `offset` to its high watermark.
    pub fn read_all(&mut self, topic: &str, partition: i32, offset: i64) -> Vec<ReadRecord> {
        let mut records: Vec<ReadRecord> = Vec::new();
        let mut next = offset;
        loop {
            let part = self.fetch(topic, partition, next);
            assert_eq!(part.error_code, code::NONE, "fetch {topic}-{partition} from {next}");
            if next >= part.high_watermark {
                return records;
            }
            let batch = read_records_of(&part.records.unwrap_or_default());
            let new: Vec<ReadRecord> = batch.into_iter().filter(|record| record.offset >= next).collect();
            next = new
                .last()
                .unwrap_or_else(|| panic!("no records at {next} below {}", part.high_watermark))
                .offset
                + 1;
            records.extend(new);
        }
    }

    /// `(error, timestamp, offset)` of ListOffsets v9 for one partition.
    pub fn list_offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> (i16, i64, i64) {
        let request = list_offsets_request(topic, partition, timestamp);
        let answer = self.call(9, &request).topics.remove(0).partitions.remove(0);
        (answer.error_code, answer.timestamp, answer.offset)
    }

    /// A fresh producer id and its epoch.
    pub fn init_producer_id(&mut self) -> (i64, i16) {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let answer = self.call(4, &request);
        assert_eq!(answer.error_code, code::NONE, "InitProducerId");
        (answer.producer_id.0, answer.producer_epoch)
    }
}
