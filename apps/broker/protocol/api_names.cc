// SPDX-License-Identifier: Apache-2.0
#include <iterator>

#include <broker/protocol/api.hh>

namespace weir::broker::protocol {

namespace {

// By number.
constexpr std::string_view names[] = {"Produce",
                                      "Fetch",
                                      "ListOffsets",
                                      "Metadata",
                                      "LeaderAndIsr",
                                      "StopReplica",
                                      "UpdateMetadata",
                                      "ControlledShutdown",
                                      "OffsetCommit",
                                      "OffsetFetch",
                                      "FindCoordinator",
                                      "JoinGroup",
                                      "Heartbeat",
                                      "LeaveGroup",
                                      "SyncGroup",
                                      "DescribeGroups",
                                      "ListGroups",
                                      "SaslHandshake",
                                      "ApiVersions",
                                      "CreateTopics",
                                      "DeleteTopics",
                                      "DeleteRecords",
                                      "InitProducerId",
                                      "OffsetForLeaderEpoch",
                                      "AddPartitionsToTxn",
                                      "AddOffsetsToTxn",
                                      "EndTxn",
                                      "WriteTxnMarkers",
                                      "TxnOffsetCommit",
                                      "DescribeAcls",
                                      "CreateAcls",
                                      "DeleteAcls",
                                      "DescribeConfigs",
                                      "AlterConfigs",
                                      "AlterReplicaLogDirs",
                                      "DescribeLogDirs",
                                      "SaslAuthenticate",
                                      "CreatePartitions",
                                      "CreateDelegationToken",
                                      "RenewDelegationToken",
                                      "ExpireDelegationToken",
                                      "DescribeDelegationToken",
                                      "DeleteGroups",
                                      "ElectLeaders",
                                      "IncrementalAlterConfigs",
                                      "AlterPartitionReassignments",
                                      "ListPartitionReassignments",
                                      "OffsetDelete",
                                      "DescribeClientQuotas",
                                      "AlterClientQuotas",
                                      "DescribeUserScramCredentials",
                                      "AlterUserScramCredentials",
                                      "Vote",
                                      "BeginQuorumEpoch",
                                      "EndQuorumEpoch",
                                      "DescribeQuorum",
                                      "AlterPartition",
                                      "UpdateFeatures",
                                      "Envelope",
                                      "FetchSnapshot",
                                      "DescribeCluster",
                                      "DescribeProducers",
                                      "BrokerRegistration",
                                      "BrokerHeartbeat",
                                      "UnregisterBroker",
                                      "DescribeTransactions",
                                      "ListTransactions",
                                      "AllocateProducerIds",
                                      "ConsumerGroupHeartbeat",
                                      "ConsumerGroupDescribe",
                                      "ControllerRegistration",
                                      "GetTelemetrySubscriptions",
                                      "PushTelemetry",
                                      "AssignReplicasToDirs",
                                      "ListConfigResources",
                                      "DescribeTopicPartitions",
                                      "ShareGroupHeartbeat",
                                      "ShareGroupDescribe",
                                      "ShareFetch",
                                      "ShareAcknowledge",
                                      "AddRaftVoter",
                                      "RemoveRaftVoter",
                                      "UpdateRaftVoter"};

}  // namespace

std::string_view kafka_name(api_key key) noexcept {
    const auto number = static_cast<std::size_t>(static_cast<std::uint16_t>(key));
    return number < std::size(names) ? names[number] : "?";
}

}  // namespace weir::broker::protocol
