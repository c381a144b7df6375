//! The table of the APIs that this broker offers: name, key, versions. One row an API, one place.
//!
//! A new API is a variant of [`ApiKey`], a row in [`APIS`], and its shape in `shape/`. What an API does never lives here.

/// An API that is offered. The discriminant is its key on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
#[allow(missing_docs)]
pub enum ApiKey {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    DescribeConfigs = 32,
    AlterConfigs = 33,
    DescribeLogDirs = 35,
    CreatePartitions = 37,
    DeleteGroups = 42,
    ElectLeaders = 43,
    IncrementalAlterConfigs = 44,
    AlterPartitionReassignments = 45,
    ListPartitionReassignments = 46,
    OffsetDelete = 47,
    DescribeClientQuotas = 48,
    DescribeQuorum = 55,
    UpdateFeatures = 57,
    DescribeCluster = 60,
    DescribeProducers = 61,
    ConsumerGroupHeartbeat = 68,
    ConsumerGroupDescribe = 69,
    ListConfigResources = 74,
    DescribeTopicPartitions = 75,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    /// The key.
    pub key: ApiKey,
    /// Kafka's name.
    pub name: &'static str,
    /// Lowest version that ApiVersions advertises.
    pub min_version: i16,
    /// Lowest version that is served; above `min_version` only for Produce (contract 15).
    pub min_served: i16,
    /// Highest version, advertised and served.
    pub max_version: i16,
    /// First version with compact types and tagged fields (KIP-482).
    pub first_flexible: i16,
}

impl Api {
    /// Whether requests of this version are handled.
    pub fn serves(&self, version: i16) -> bool {
        (self.min_served..=self.max_version).contains(&version)
    }

    /// Whether ApiVersions lists this version.
    pub fn advertises(&self, version: i16) -> bool {
        (self.min_version..=self.max_version).contains(&version)
    }

    /// Whether the version has compact types and tagged fields.
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.first_flexible
    }

    /// 2 for flexible versions, else 1 (contract 5).
    pub fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// 1 for flexible versions, else 0; always 0 for ApiVersions, whose reply a client must read before it knows
    /// our versions (contract 5).
    pub fn response_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) && self.key != ApiKey::ApiVersions {
            1
        } else {
            0
        }
    }
}

const fn row(key: ApiKey, name: &'static str, versions: (i16, i16), first_flexible: i16) -> Api {
    Api {
        key,
        name,
        min_version: versions.0,
        min_served: versions.0,
        max_version: versions.1,
        first_flexible,
    }
}

/// For an API that has no version with compact types.
const NEVER_FLEXIBLE: i16 = i16::MAX;

/// Every API that is offered, by key.
///
/// Produce advertises 0 although less than 3 is refused: older librdkafka turns compression off otherwise (contract 15).
/// ListOffsets ends at 10, OffsetCommit and OffsetFetch at 9 and DescribeLogDirs at 4 because the codec has no more.
pub const APIS: &[Api] = &[
    Api {
        min_served: 3,
        ..row(ApiKey::Produce, "Produce", (0, 13), 9)
    },
    row(ApiKey::Fetch, "Fetch", (4, 18), 12),
    row(ApiKey::ListOffsets, "ListOffsets", (1, 10), 6),
    row(ApiKey::Metadata, "Metadata", (0, 13), 9),
    row(ApiKey::OffsetCommit, "OffsetCommit", (2, 9), 8),
    row(ApiKey::OffsetFetch, "OffsetFetch", (1, 9), 6),
    row(ApiKey::FindCoordinator, "FindCoordinator", (0, 6), 3),
    row(ApiKey::JoinGroup, "JoinGroup", (0, 9), 6),
    row(ApiKey::Heartbeat, "Heartbeat", (0, 4), 4),
    row(ApiKey::LeaveGroup, "LeaveGroup", (0, 5), 4),
    row(ApiKey::SyncGroup, "SyncGroup", (0, 5), 4),
    row(ApiKey::DescribeGroups, "DescribeGroups", (0, 6), 5),
    row(ApiKey::ListGroups, "ListGroups", (0, 5), 3),
    row(ApiKey::ApiVersions, "ApiVersions", (0, 4), 3),
    row(ApiKey::CreateTopics, "CreateTopics", (2, 7), 5),
    row(ApiKey::DeleteTopics, "DeleteTopics", (1, 6), 4),
    row(ApiKey::DeleteRecords, "DeleteRecords", (0, 2), 2),
    row(ApiKey::InitProducerId, "InitProducerId", (0, 5), 2),
    row(ApiKey::OffsetForLeaderEpoch, "OffsetForLeaderEpoch", (2, 4), 4),
    row(ApiKey::DescribeConfigs, "DescribeConfigs", (1, 4), 4),
    row(ApiKey::AlterConfigs, "AlterConfigs", (0, 2), 2),
    row(ApiKey::DescribeLogDirs, "DescribeLogDirs", (1, 4), 2),
    row(ApiKey::CreatePartitions, "CreatePartitions", (0, 3), 2),
    row(ApiKey::DeleteGroups, "DeleteGroups", (0, 2), 2),
    row(ApiKey::ElectLeaders, "ElectLeaders", (0, 2), 2),
    row(ApiKey::IncrementalAlterConfigs, "IncrementalAlterConfigs", (0, 1), 1),
    row(
        ApiKey::AlterPartitionReassignments,
        "AlterPartitionReassignments",
        (0, 1),
        0,
    ),
    row(
        ApiKey::ListPartitionReassignments,
        "ListPartitionReassignments",
        (0, 0),
        0,
    ),
    row(ApiKey::OffsetDelete, "OffsetDelete", (0, 0), NEVER_FLEXIBLE),
    row(ApiKey::DescribeClientQuotas, "DescribeClientQuotas", (0, 1), 1),
    row(ApiKey::DescribeQuorum, "DescribeQuorum", (0, 2), 0),
    row(ApiKey::UpdateFeatures, "UpdateFeatures", (0, 2), 0),
    row(ApiKey::DescribeCluster, "DescribeCluster", (0, 2), 0),
    row(ApiKey::DescribeProducers, "DescribeProducers", (0, 0), 0),
    row(ApiKey::ConsumerGroupHeartbeat, "ConsumerGroupHeartbeat", (0, 1), 0),
    row(ApiKey::ConsumerGroupDescribe, "ConsumerGroupDescribe", (0, 1), 0),
    row(ApiKey::ListConfigResources, "ListConfigResources", (0, 1), 0),
    row(ApiKey::DescribeTopicPartitions, "DescribeTopicPartitions", (0, 0), 0),
];

/// The row of a key as sent; `None` when it is not offered.
pub fn find(api_key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key as i16 == api_key)
}

impl ApiKey {
    /// This API's row.
    pub fn api(self) -> &'static Api {
        find(self as i16).expect("every variant has a row")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_found_by_key() {
        assert!(APIS.is_sorted_by(|a, b| (a.key as i16) < (b.key as i16)));
        for api in APIS {
            assert_eq!(find(api.key as i16), Some(api));
            assert_eq!(api.key.api(), api);
            assert_eq!(format!("{:?}", api.key), api.name);
            assert!(
                api.min_version <= api.min_served && api.min_served <= api.max_version,
                "{}",
                api.name
            );
        }
        assert_eq!(find(24), None);
    }

    #[test]
    fn produce_0_is_advertised_and_not_served() {
        // contract 15
        let produce = ApiKey::Produce.api();
        assert!(produce.advertises(0) && produce.advertises(13) && !produce.advertises(14));
        assert!(!produce.serves(2) && produce.serves(3) && produce.serves(13));
        // librdkafka keys lz4 on FindCoordinator 0, zstd on Produce 7 and Fetch 10.
        assert!(ApiKey::FindCoordinator.api().advertises(0));
        assert!(produce.advertises(7) && ApiKey::Fetch.api().advertises(10));
    }
}
