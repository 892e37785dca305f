//! The exam that every store has to pass, written against the [`Store`](ringback::store::Store) trait alone, and what
//! only the SQLite file promises ([`sqlite`]).
//!
//! A new method without its exam does not exist. An exam is an async function that takes a fresh [`subject::Subject`];
//! it counts only once it stands in the list below, and the compiler warns about one that does not.

mod deeds;
mod deliveries;
mod endpoints;
mod engine;
mod events;
mod fanout;
mod group;
mod history;
mod ledger;
mod sqlite;
mod subject;
mod vendors;

/// Runs every exam on the fresh stores that `$open` yields.
macro_rules! examine {
    ($open:path) => {
        examine! { $open;
            vendors:
                a_vendor_is_kept_as_given, no_vendor, vendors_are_listed_newest_first, eight_of_the_same_vendor_are_one, a_vendor_changes,
                tokens_open_what_they_say, tokens_are_listed_newest_first, a_hash_is_taken_once, a_revoked_token_is_gone,
                eight_revocations_revoke_once, a_disabled_vendors_tokens_are_refused, a_refused_vendor_leaves_nothing;
            ledger:
                an_empty_batch_is_nothing, a_queued_report_makes_no_event, an_outcome_makes_its_event,
                the_same_reference_elsewhere_is_another_recharge, eight_of_the_same_report_create_once,
                eight_who_disagree_leave_one_outcome, transaction_ids_count_up, a_refused_batch_leaves_nothing, no_recharge,
                recharges_are_listed_newest_first, recharges_are_chosen_by_what_they_are, recharges_are_chosen_by_their_time, a_recharge_behind_very_many_is_found;
            history:
                two_reports_in_one_batch, a_whole_history_in_one_batch, the_history_keeps_every_report_in_order,
                the_first_report_stands_as_it_was, null_fields_are_filled_once, a_conflict_fills_nothing,
                what_is_filled_later_does_not_change_the_event;
            events:
                an_empty_feed, the_feed_is_read_in_parts, no_event, numbers_have_no_gaps_under_eight_writers, times_never_go_back,
                data_is_kept_as_given, a_dedupe_key_answers_with_the_first, a_dedupe_key_within_one_batch,
                eight_posts_with_one_key_are_one_event, an_unknown_stream_is_refused;
            endpoints:
                an_endpoint_is_kept_as_given, no_endpoint, endpoints_are_listed_newest_first, a_stream_has_so_many_endpoints,
                eight_endpoints_for_one_place, an_endpoint_of_an_unknown_stream_is_refused, settings_change, states_change_from_where_they_say,
                eight_changes_of_one_state, what_a_person_disabled_is_enabled_by_no_rule, connecting_says_when, resuming_is_no_handshake, a_deleted_endpoint_can_be_read,
                an_endpoint_knows_that_its_vendor_is_disabled;
            fanout:
                those_who_listen_get_a_delivery, filters_choose_what_is_delivered, a_change_counts_from_the_next_event,
                nothing_is_missed_by_who_listens, what_was_sent_while_away_is_missed, another_filter_misses_other_events, very_many_are_missed,
                who_was_made_listening_misses_nothing, delivered_and_missed_are_all_there_is;
            deliveries:
                a_fresh_delivery_is_pending, no_delivery, success_at_once, a_retry_waits, a_run_ends_without_an_attempt,
                an_attempt_is_kept_as_made, attempts_are_in_order_over_runs, eight_outcomes_of_one_run, late_success_after_cancel,
                late_failure_after_cancel, late_success_of_an_exhausted_run, late_success_beside_a_new_run, an_outcome_given_twice_is_kept_once,
                a_cancelled_runs_attempt_outlives_its_success, a_resend_opens_a_run, a_resend_that_cannot_be, eight_resends_open_one_run,
                deliveries_are_listed_latest_first, deliveries_are_chosen_by_state, deliveries_are_chosen_by_what_they_are,
                deliveries_are_chosen_by_their_time, a_delivery_behind_very_many_is_found, a_deleted_endpoints_deliveries_are_listed;
            engine:
                what_a_commit_opens_is_what_can_be_read, nothing_is_open, fresh_runs_come_in_order, due_runs_come_longest_due_first,
                all_runs_come_in_order, strict_and_beside_share_the_runs, the_next_due_lies_ahead, open_runs_are_counted,
                backlogs_come_in_order, a_later_run_hides_no_deadline, deadlines_pass, deadlines_of_later_runs_pass,
                a_deleted_endpoints_runs_stay_open;
            group:
                a_poisoned_write_does_not_fail_its_neighbours, writes_are_answered_each_with_its_own,
                outcomes_are_handed_back_in_order;
        }
    };
    ($open:path; $($topic:ident: $($exam:ident),+;)+) => {$(
        mod $topic {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $exam() {
                crate::$topic::$exam($open()).await;
            })+
        }
    )+};
}

mod on_sqlite {
    examine!(crate::sqlite::fresh);
}
