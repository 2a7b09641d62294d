// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/errors.hh>

namespace weir::broker::protocol {

namespace {

struct entry {
    error_code code;
    std::string_view name;
};

constexpr entry entries[] = {
    {error_code::unknown_server_error, "unknown_server_error"},
    {error_code::none, "none"},
    {error_code::offset_out_of_range, "offset_out_of_range"},
    {error_code::corrupt_message, "corrupt_message"},
    {error_code::unknown_topic_or_partition, "unknown_topic_or_partition"},
    {error_code::invalid_fetch_size, "invalid_fetch_size"},
    {error_code::leader_not_available, "leader_not_available"},
    {error_code::not_leader_or_follower, "not_leader_or_follower"},
    {error_code::request_timed_out, "request_timed_out"},
    {error_code::broker_not_available, "broker_not_available"},
    {error_code::replica_not_available, "replica_not_available"},
    {error_code::message_too_large, "message_too_large"},
    {error_code::stale_controller_epoch, "stale_controller_epoch"},
    {error_code::offset_metadata_too_large, "offset_metadata_too_large"},
    {error_code::network_exception, "network_exception"},
    {error_code::coordinator_load_in_progress, "coordinator_load_in_progress"},
    {error_code::coordinator_not_available, "coordinator_not_available"},
    {error_code::not_coordinator, "not_coordinator"},
    {error_code::invalid_topic_exception, "invalid_topic_exception"},
    {error_code::record_list_too_large, "record_list_too_large"},
    {error_code::not_enough_replicas, "not_enough_replicas"},
    {error_code::not_enough_replicas_after_append, "not_enough_replicas_after_append"},
    {error_code::invalid_required_acks, "invalid_required_acks"},
    {error_code::illegal_generation, "illegal_generation"},
    {error_code::inconsistent_group_protocol, "inconsistent_group_protocol"},
    {error_code::invalid_group_id, "invalid_group_id"},
    {error_code::unknown_member_id, "unknown_member_id"},
    {error_code::invalid_session_timeout, "invalid_session_timeout"},
    {error_code::rebalance_in_progress, "rebalance_in_progress"},
    {error_code::invalid_commit_offset_size, "invalid_commit_offset_size"},
    {error_code::topic_authorization_failed, "topic_authorization_failed"},
    {error_code::group_authorization_failed, "group_authorization_failed"},
    {error_code::cluster_authorization_failed, "cluster_authorization_failed"},
    {error_code::invalid_timestamp, "invalid_timestamp"},
    {error_code::unsupported_sasl_mechanism, "unsupported_sasl_mechanism"},
    {error_code::illegal_sasl_state, "illegal_sasl_state"},
    {error_code::unsupported_version, "unsupported_version"},
    {error_code::topic_already_exists, "topic_already_exists"},
    {error_code::invalid_partitions, "invalid_partitions"},
    {error_code::invalid_replication_factor, "invalid_replication_factor"},
    {error_code::invalid_replica_assignment, "invalid_replica_assignment"},
    {error_code::invalid_config, "invalid_config"},
    {error_code::not_controller, "not_controller"},
    {error_code::invalid_request, "invalid_request"},
    {error_code::unsupported_for_message_format, "unsupported_for_message_format"},
    {error_code::policy_violation, "policy_violation"},
    {error_code::out_of_order_sequence_number, "out_of_order_sequence_number"},
    {error_code::duplicate_sequence_number, "duplicate_sequence_number"},
    {error_code::invalid_producer_epoch, "invalid_producer_epoch"},
    {error_code::invalid_txn_state, "invalid_txn_state"},
    {error_code::invalid_producer_id_mapping, "invalid_producer_id_mapping"},
    {error_code::invalid_transaction_timeout, "invalid_transaction_timeout"},
    {error_code::concurrent_transactions, "concurrent_transactions"},
    {error_code::transaction_coordinator_fenced, "transaction_coordinator_fenced"},
    {error_code::transactional_id_authorization_failed, "transactional_id_authorization_failed"},
    {error_code::security_disabled, "security_disabled"},
    {error_code::operation_not_attempted, "operation_not_attempted"},
    {error_code::kafka_storage_error, "kafka_storage_error"},
    {error_code::log_dir_not_found, "log_dir_not_found"},
    {error_code::sasl_authentication_failed, "sasl_authentication_failed"},
    {error_code::unknown_producer_id, "unknown_producer_id"},
    {error_code::reassignment_in_progress, "reassignment_in_progress"},
    {error_code::delegation_token_auth_disabled, "delegation_token_auth_disabled"},
    {error_code::delegation_token_not_found, "delegation_token_not_found"},
    {error_code::delegation_token_owner_mismatch, "delegation_token_owner_mismatch"},
    {error_code::delegation_token_request_not_allowed, "delegation_token_request_not_allowed"},
    {error_code::delegation_token_authorization_failed, "delegation_token_authorization_failed"},
    {error_code::delegation_token_expired, "delegation_token_expired"},
    {error_code::invalid_principal_type, "invalid_principal_type"},
    {error_code::non_empty_group, "non_empty_group"},
    {error_code::group_id_not_found, "group_id_not_found"},
    {error_code::fetch_session_id_not_found, "fetch_session_id_not_found"},
    {error_code::invalid_fetch_session_epoch, "invalid_fetch_session_epoch"},
    {error_code::listener_not_found, "listener_not_found"},
    {error_code::topic_deletion_disabled, "topic_deletion_disabled"},
    {error_code::fenced_leader_epoch, "fenced_leader_epoch"},
    {error_code::unknown_leader_epoch, "unknown_leader_epoch"},
    {error_code::unsupported_compression_type, "unsupported_compression_type"},
    {error_code::stale_broker_epoch, "stale_broker_epoch"},
    {error_code::offset_not_available, "offset_not_available"},
    {error_code::member_id_required, "member_id_required"},
    {error_code::preferred_leader_not_available, "preferred_leader_not_available"},
    {error_code::group_max_size_reached, "group_max_size_reached"},
    {error_code::fenced_instance_id, "fenced_instance_id"},
    {error_code::eligible_leaders_not_available, "eligible_leaders_not_available"},
    {error_code::election_not_needed, "election_not_needed"},
    {error_code::no_reassignment_in_progress, "no_reassignment_in_progress"},
    {error_code::group_subscribed_to_topic, "group_subscribed_to_topic"},
    {error_code::invalid_record, "invalid_record"},
    {error_code::unstable_offset_commit, "unstable_offset_commit"},
    {error_code::throttling_quota_exceeded, "throttling_quota_exceeded"},
    {error_code::producer_fenced, "producer_fenced"},
    {error_code::resource_not_found, "resource_not_found"},
    {error_code::duplicate_resource, "duplicate_resource"},
    {error_code::unacceptable_credential, "unacceptable_credential"},
    {error_code::inconsistent_voter_set, "inconsistent_voter_set"},
    {error_code::invalid_update_version, "invalid_update_version"},
    {error_code::feature_update_failed, "feature_update_failed"},
    {error_code::principal_deserialization_failure, "principal_deserialization_failure"},
    {error_code::snapshot_not_found, "snapshot_not_found"},
    {error_code::position_out_of_range, "position_out_of_range"},
    {error_code::unknown_topic_id, "unknown_topic_id"},
    {error_code::duplicate_broker_registration, "duplicate_broker_registration"},
    {error_code::broker_id_not_registered, "broker_id_not_registered"},
    {error_code::inconsistent_topic_id, "inconsistent_topic_id"},
    {error_code::inconsistent_cluster_id, "inconsistent_cluster_id"},
    {error_code::transactional_id_not_found, "transactional_id_not_found"},
    {error_code::fetch_session_topic_id_error, "fetch_session_topic_id_error"},
};

}  // namespace

std::string_view name(error_code code) noexcept {
    for (const entry& known : entries) {
        if (known.code == code) {
            return known.name;
        }
    }
    return "?";
}

}  // namespace weir::broker::protocol
