//! Kafka's error codes: what a client sees of anything that goes wrong.
//!
//! The table is complete up to Kafka 4.1. How storage errors become codes lives in the broker, never here.

macro_rules! error_codes {
    ($(($name:ident, $code:literal, $retriable:literal, $message:literal),)*) => {
        /// An error code. The discriminant is the number on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = $message] $name = $code,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the numbers.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The code of a number; `None` for a number that Kafka has not assigned.
            pub const fn from_code(code: i16) -> Option<ErrorCode> {
                match code {
                    $($code => Some(ErrorCode::$name),)*
                    _ => None,
                }
            }

            /// Whether a client may repeat the request and hope.
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(ErrorCode::$name => $retriable,)*
                }
            }

            /// A sentence for a human, when there is nothing more precise to say.
            pub const fn message(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $message,)*
                }
            }
        }
    };
}

error_codes! {
    (UnknownServerError, -1, false, "The broker met an error that it did not expect."),
    (None, 0, false, "No error."),
    (OffsetOutOfRange, 1, false, "The offset is outside the range that the broker keeps."),
    (CorruptMessage, 2, true, "The batch failed its checksum, has a wrong size or is otherwise corrupt."),
    (UnknownTopicOrPartition, 3, true, "The broker does not host this topic or partition."),
    (InvalidFetchSize, 4, false, "The fetch size is invalid."),
    (LeaderNotAvailable, 5, true, "The partition has no leader at the moment."),
    (NotLeaderOrFollower, 6, true, "This broker is not the leader, or no replica, of the partition."),
    (RequestTimedOut, 7, true, "The request timed out; what it wrote stays."),
    (BrokerNotAvailable, 8, false, "The broker is not available."),
    (ReplicaNotAvailable, 9, true, "The replica is not available."),
    (MessageTooLarge, 10, false, "The batch is larger than max.message.bytes."),
    (StaleControllerEpoch, 11, false, "The controller moved to another broker."),
    (OffsetMetadataTooLarge, 12, false, "The metadata of the offset commit is too large."),
    (NetworkException, 13, true, "The connection ended before the response."),
    (CoordinatorLoadInProgress, 14, true, "The coordinator is loading its state."),
    (CoordinatorNotAvailable, 15, true, "The coordinator is not available."),
    (NotCoordinator, 16, true, "This broker is not the coordinator."),
    (InvalidTopicException, 17, false, "The topic is invalid for this operation."),
    (RecordListTooLarge, 18, false, "The batch is larger than the segment size."),
    (NotEnoughReplicas, 19, true, "There are fewer in-sync replicas than required; nothing was written."),
    (NotEnoughReplicasAfterAppend, 20, true, "The batch was written, but to fewer in-sync replicas than required."),
    (InvalidRequiredAcks, 21, false, "acks must be -1, 0 or 1."),
    (IllegalGeneration, 22, false, "The generation id of the group is not valid."),
    (InconsistentGroupProtocol, 23, false, "The member's protocols do not match those of the group, or it sent none."),
    (InvalidGroupId, 24, false, "The group id is invalid."),
    (UnknownMemberId, 25, false, "The coordinator does not know this member."),
    (InvalidSessionTimeout, 26, false, "The session timeout is outside the range that the broker allows."),
    (RebalanceInProgress, 27, false, "The group is rebalancing; the member must rejoin."),
    (InvalidCommitOffsetSize, 28, false, "The size of the committed offset data is not valid."),
    (TopicAuthorizationFailed, 29, false, "Topic authorization failed."),
    (GroupAuthorizationFailed, 30, false, "Group authorization failed."),
    (ClusterAuthorizationFailed, 31, false, "Cluster authorization failed."),
    (InvalidTimestamp, 32, false, "The timestamp of a record is out of the acceptable range."),
    (UnsupportedSaslMechanism, 33, false, "The SASL mechanism is not supported."),
    (IllegalSaslState, 34, false, "The request is not valid in the current SASL state."),
    (UnsupportedVersion, 35, false, "The version of the API is not supported."),
    (TopicAlreadyExists, 36, false, "The topic exists already."),
    (InvalidPartitions, 37, false, "The number of partitions is invalid."),
    (InvalidReplicationFactor, 38, false, "The replication factor is invalid."),
    (InvalidReplicaAssignment, 39, false, "The replica assignment is invalid."),
    (InvalidConfig, 40, false, "The configuration is invalid."),
    (NotController, 41, true, "This broker is not the controller."),
    (InvalidRequest, 42, false, "The request is invalid."),
    (UnsupportedForMessageFormat, 43, false, "The message format on the broker does not support the request."),
    (PolicyViolation, 44, false, "The request violates a policy."),
    (OutOfOrderSequenceNumber, 45, false, "The sequence number is out of order."),
    (DuplicateSequenceNumber, 46, false, "The sequence number is a duplicate."),
    (InvalidProducerEpoch, 47, false, "The producer epoch is older than the current one."),
    (InvalidTxnState, 48, false, "The operation is invalid in the current state of the transaction."),
    (InvalidProducerIdMapping, 49, false, "The producer id is not assigned to this transactional id."),
    (InvalidTransactionTimeout, 50, false, "The transaction timeout is larger than transaction.max.timeout.ms."),
    (ConcurrentTransactions, 51, false, "Another operation on the same transaction is in progress."),
    (TransactionCoordinatorFenced, 52, false, "The coordinator that sent the marker is no longer the current one."),
    (TransactionalIdAuthorizationFailed, 53, false, "Transactional id authorization failed."),
    (SecurityDisabled, 54, false, "Security features are disabled."),
    (OperationNotAttempted, 55, false, "The operation was not attempted because another part of the request failed."),
    (KafkaStorageError, 56, true, "The disk failed while the log was accessed."),
    (LogDirNotFound, 57, false, "The log directory is not configured."),
    (SaslAuthenticationFailed, 58, false, "SASL authentication failed."),
    (UnknownProducerId, 59, false, "The broker has no metadata for this producer id."),
    (ReassignmentInProgress, 60, false, "A reassignment of the partition is in progress."),
    (DelegationTokenAuthDisabled, 61, false, "Delegation tokens are not enabled."),
    (DelegationTokenNotFound, 62, false, "The delegation token does not exist."),
    (DelegationTokenOwnerMismatch, 63, false, "The principal is no owner or renewer of the token."),
    (DelegationTokenRequestNotAllowed, 64, false, "Delegation token requests are not allowed on this channel."),
    (DelegationTokenAuthorizationFailed, 65, false, "Delegation token authorization failed."),
    (DelegationTokenExpired, 66, false, "The delegation token has expired."),
    (InvalidPrincipalType, 67, false, "The principal type is not supported."),
    (NonEmptyGroup, 68, false, "The group is not empty."),
    (GroupIdNotFound, 69, false, "The group id does not exist."),
    (FetchSessionIdNotFound, 70, true, "The fetch session does not exist."),
    (InvalidFetchSessionEpoch, 71, true, "The fetch session epoch is invalid."),
    (ListenerNotFound, 72, true, "The leader has no listener with the name of the one that was asked."),
    (TopicDeletionDisabled, 73, false, "Topic deletion is disabled."),
    (FencedLeaderEpoch, 74, true, "The leader epoch of the request is older than the broker's."),
    (UnknownLeaderEpoch, 75, true, "The leader epoch of the request is newer than the broker's."),
    (UnsupportedCompressionType, 76, false, "The compression type is not supported."),
    (StaleBrokerEpoch, 77, false, "The broker epoch has changed."),
    (OffsetNotAvailable, 78, true, "The high watermark has not caught up after a leader election."),
    (MemberIdRequired, 79, false, "The member needs a member id before it can join."),
    (PreferredLeaderNotAvailable, 80, true, "The preferred leader is not available."),
    (GroupMaxSizeReached, 81, false, "The group has reached its maximum size."),
    (FencedInstanceId, 82, false, "Another member registered with the same group.instance.id."),
    (EligibleLeadersNotAvailable, 83, true, "No eligible leader is available."),
    (ElectionNotNeeded, 84, true, "No leader election is needed."),
    (NoReassignmentInProgress, 85, false, "No reassignment is in progress."),
    (GroupSubscribedToTopic, 86, false, "The group is subscribed to the topic."),
    (InvalidRecord, 87, false, "A record or its batch failed validation."),
    (UnstableOffsetCommit, 88, true, "There are offsets of an open transaction that must be settled first."),
    (ThrottlingQuotaExceeded, 89, true, "The throttling quota has been exceeded."),
    (ProducerFenced, 90, false, "A newer producer with the same transactional id fences this one."),
    (ResourceNotFound, 91, false, "The resource does not exist."),
    (DuplicateResource, 92, false, "The resource is named twice."),
    (UnacceptableCredential, 93, false, "The credential does not meet the criteria."),
    (InconsistentVoterSet, 94, false, "The sender or receiver is none of the expected voters."),
    (InvalidUpdateVersion, 95, false, "The version of the update is invalid."),
    (FeatureUpdateFailed, 96, false, "The finalized features could not be updated."),
    (PrincipalDeserializationFailure, 97, false, "The principal of a forwarded request could not be read."),
    (SnapshotNotFound, 98, false, "The snapshot does not exist."),
    (PositionOutOfRange, 99, false, "The position is outside the snapshot."),
    (UnknownTopicId, 100, true, "The broker does not host this topic id."),
    (DuplicateBrokerRegistration, 101, false, "The broker id is in use."),
    (BrokerIdNotRegistered, 102, false, "The broker id is not registered."),
    (InconsistentTopicId, 103, true, "The topic id differs from the one of the log or session."),
    (InconsistentClusterId, 104, false, "The cluster id differs from the broker's."),
    (TransactionalIdNotFound, 105, false, "The transactional id does not exist."),
    (FetchSessionTopicIdError, 106, true, "The fetch session mixes topic ids and names."),
    (IneligibleReplica, 107, false, "The new ISR contains an ineligible replica."),
    (NewLeaderElected, 108, false, "The partition was changed, but its leader has changed too."),
    (OffsetMovedToTieredStorage, 109, false, "The offset has moved to tiered storage."),
    (FencedMemberEpoch, 110, false, "The member epoch is fenced; the member must give up its partitions and rejoin."),
    (UnreleasedInstanceId, 111, false, "The instance id is still used by another member."),
    (UnsupportedAssignor, 112, false, "The assignor or its version is not supported by the group."),
    (StaleMemberEpoch, 113, false, "The member epoch is stale."),
    (MismatchedEndpointType, 114, false, "The request was sent to an endpoint of the wrong type."),
    (UnsupportedEndpointType, 115, false, "The endpoint type is not supported."),
    (UnknownControllerId, 116, false, "The controller id is not known."),
    (UnknownSubscriptionId, 117, false, "The telemetry subscription id is invalid or outdated."),
    (TelemetryTooLarge, 118, false, "The telemetry is larger than the broker accepts."),
    (InvalidRegistration, 119, false, "The broker registration is invalid."),
    (TransactionAbortable, 120, false, "The transaction met an error and must be aborted."),
    (InvalidRecordState, 121, false, "The record is in a state that does not allow the acknowledgement."),
    (ShareSessionNotFound, 122, true, "The share session does not exist."),
    (InvalidShareSessionEpoch, 123, true, "The share session epoch is invalid."),
    (FencedStateEpoch, 124, false, "The state epoch of the share group does not match."),
    (InvalidVoterKey, 125, false, "The voter key is not that of the replica."),
    (DuplicateVoter, 126, false, "The voter is one of the voters already."),
    (VoterNotFound, 127, false, "The voter is none of the voters."),
    (InvalidRegularExpression, 128, false, "The regular expression is not valid."),
    (RebootstrapRequired, 129, false, "The client's metadata is stale; it must bootstrap again."),
    (StreamsInvalidTopology, 130, false, "The topology is invalid."),
    (StreamsInvalidTopologyEpoch, 131, false, "The topology epoch is invalid."),
    (StreamsTopologyFenced, 132, false, "The topology epoch is outdated."),
    (ShareSessionLimitReached, 133, true, "The limit of share sessions has been reached."),
}

#[allow(
    clippy::derivable_impls,
    reason = "the rows of the table have no room for an attribute"
)]
impl Default for ErrorCode {
    fn default() -> ErrorCode {
        ErrorCode::None
    }
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether this is an error at all.
    pub const fn is_error(self) -> bool {
        self.code() != 0
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}({})", self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::ResponseError;

    #[test]
    fn numbers_names_and_retriability_are_kafkas() {
        for code in -1..=133 {
            let ours = ErrorCode::from_code(code).expect("assigned");
            assert_eq!(ours.code(), code);
            let Some(theirs) = ResponseError::try_from_code(code) else {
                assert_eq!(ours, ErrorCode::None);
                continue;
            };
            assert_eq!(format!("{ours:?}"), theirs.to_string(), "{code}");
            assert_eq!(ours.is_retriable(), theirs.is_retriable(), "{code}");
        }
        assert_eq!(ErrorCode::ALL.len(), 135);
        assert_eq!(ErrorCode::from_code(-2), None);
        assert_eq!(ErrorCode::from_code(134), None);
    }

    #[test]
    fn it_prints_name_and_number() {
        assert_eq!(ErrorCode::NotLeaderOrFollower.to_string(), "NotLeaderOrFollower(6)");
        assert!(!ErrorCode::default().is_error());
    }
}
