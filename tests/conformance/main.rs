//! The exam that every store has to pass, written against the [`Store`](ringback::store::Store) trait alone, and what
//! only the SQLite file promises ([`sqlite`], [`upkeep`], [`migration`]), or only nodes that share a database need ([`nodes`]).
//!
//! A new method without its exam does not exist. An exam is an async function that takes a fresh [`harness::Subject`];
//! it counts only once it stands in the list below, and the compiler warns about one that does not.

mod answers;
mod audit;
mod commands;
mod conflicts;
mod deliveries;
mod endpoints;
mod engine;
mod erase;
mod events;
mod fanout;
mod group;
mod guesses;
mod harness;
mod health;
mod history;
mod ledger;
mod mails;
mod migration;
mod mixed;
mod nodes;
mod overview;
mod pauses;
mod people;
mod postgres;
mod replays;
mod sealed;
mod sqlite;
mod submissions;
mod sweep;
mod upkeep;
mod users;
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
                a_page_of_the_feed_is_bounded_in_bytes, an_empty_feed, the_feed_is_read_in_parts, no_event, numbers_have_no_gaps_under_eight_writers, times_never_go_back,
                data_is_kept_as_given, a_dedupe_key_answers_with_the_first, a_dedupe_key_within_one_batch,
                eight_posts_with_one_key_are_one_event, an_unknown_stream_is_refused, a_time_range_is_a_range_of_numbers;
            endpoints:
                an_endpoint_is_kept_as_given, no_endpoint, endpoints_are_listed_newest_first, a_stream_has_so_many_endpoints,
                eight_endpoints_for_one_place, an_endpoint_of_an_unknown_stream_is_refused, settings_change, states_change_from_where_they_say,
                eight_changes_of_one_state, settings_that_have_changed_meanwhile_are_not_undone, what_a_person_disabled_is_enabled_by_no_rule, connecting_says_when, resuming_is_no_handshake, a_deleted_endpoint_can_be_read,
                an_endpoint_knows_that_its_vendor_is_disabled;
            fanout:
                those_who_listen_get_a_delivery, filters_choose_what_is_delivered, a_change_counts_from_the_next_event,
                nothing_is_missed_by_who_listens, what_was_sent_while_away_is_missed, another_filter_misses_other_events, very_many_are_missed,
                who_was_made_listening_misses_nothing, delivered_and_missed_are_all_there_is;
            deliveries:
                a_fresh_delivery_is_pending, no_delivery, success_at_once, a_retry_waits, a_run_ends_without_an_attempt,
                an_attempt_is_kept_as_made, attempts_are_in_order_over_runs, eight_outcomes_of_one_run, late_success_after_cancel,
                late_failure_after_cancel, late_success_of_an_exhausted_run, late_success_beside_a_new_run, attempts_side_by_side_are_numbered_as_they_began, an_outcome_given_twice_is_kept_once,
                a_cancelled_runs_attempt_outlives_its_success, a_resend_opens_a_run, a_resend_that_cannot_be, eight_resends_open_one_run,
                deliveries_are_listed_latest_first, deliveries_are_chosen_by_state, deliveries_are_chosen_by_what_they_are,
                deliveries_are_chosen_by_their_time, a_delivery_behind_very_many_is_found, a_deleted_endpoints_deliveries_are_listed;
            engine:
                what_a_commit_opens_is_what_can_be_read, a_portion_is_bounded_in_bytes, nothing_is_open, fresh_runs_come_in_order, due_runs_come_longest_due_first,
                all_runs_come_in_order, strict_and_beside_share_the_runs, the_next_due_lies_ahead, open_runs_are_counted,
                backlogs_come_in_order, a_later_run_hides_no_deadline, deadlines_pass, deadlines_of_later_runs_pass,
                a_deleted_endpoints_runs_stay_open, open_runs_have_a_size, very_many_open_runs_have_a_size;
            group:
                a_poisoned_write_does_not_fail_its_neighbours, writes_are_answered_each_with_its_own,
                outcomes_are_handed_back_in_order, a_report_goes_without_outcomes_that_gather,
                an_outcome_is_due_among_reports_too, a_refused_change_does_not_fail_its_neighbours;
            users:
                a_login_is_kept_as_given, logins_are_listed_newest_first, an_address_is_taken_once,
                eight_logins_for_one_address, a_removed_login_is_gone, eight_removals_remove_once,
                the_operators_tokens_are_listed_newest_first, the_operators_tokens_are_revoked_by_the_operator_alone;
            people:
                a_session_is_kept_as_given, a_session_ends_when_it_says, a_session_ends_by_logging_out,
                a_session_ends_with_its_login_and_its_vendor, a_session_takes_anothers_place_once, credentials_are_found_by_their_address,
                a_second_factor_changes_from_what_was_read, a_new_password_ends_other_sessions, a_role_is_changed_by_its_vendor,
                a_link_is_kept_as_given, invitations_are_listed_until_they_are_taken, a_link_takes_the_place_of_the_same_inviters_only,
                links_to_a_new_password_are_good_until_one_is_used, invitations_that_wait_have_a_bound,
                a_link_is_good_once, a_link_does_what_it_is_for, a_tokens_use_is_noted_now_and_then,
                a_browser_is_known_until_the_password_changes, a_second_factor_is_proposed_once_in_a_session,
                the_last_owner_stays, the_first_operator_is_one, a_stream_has_so_many_tokens_at_most;
            answers:
                a_kept_answer_is_read_back, an_answer_is_kept_for_a_day, a_request_that_was_answered_is_not_done_again,
                eight_requests_with_one_key_are_done_once, what_did_not_come_to_pass_keeps_no_answer,
                an_answer_follows_from_what_was_done, a_clock_that_was_set_back_finds_its_answers;
            audit:
                a_note_is_kept_as_given, what_did_not_come_to_pass_is_not_noted, a_refused_change_is_not_noted,
                entries_are_listed_newest_first, entries_are_chosen_by_what_they_are, entries_are_chosen_by_their_time,
                an_entry_behind_very_many_is_found, eight_notes_are_eight_entries;
            overview:
                an_overview_of_nothing, sums_follow_every_move, sums_of_a_batch_are_right, a_refused_batch_moves_no_sum,
                eight_reporters_are_counted, the_oldest_queued_is_told, an_hour_and_a_day_have_their_minutes,
                attempts_are_counted, an_outcome_given_twice_is_counted_once, latencies_have_their_quantiles,
                what_waits_for_people_is_counted, minutes_are_told_one_by_one, a_streams_hours_follow_every_move,
                providers_are_told_by_their_latest, who_fails_and_who_was_disabled_is_trouble, causes_are_grouped_by_what_came_back;
            conflicts:
                a_contradiction_opens_a_case, no_conflict, a_case_is_opened_once_for_each_claim_and_field,
                a_dismissed_case_is_not_opened_again, eight_contradictions_open_one_case, conflicts_are_listed_newest_first,
                conflicts_are_chosen_by_what_they_are, conflicts_are_chosen_by_their_time,
                a_reversal_moves_the_recharge_and_tells_of_it, a_late_success_is_told_as_late, a_dismissal_moves_nothing,
                a_resolution_that_does_not_fit_changes_nothing, eight_resolutions_resolve_once,
                a_person_settles_what_is_queued, what_is_settled_is_not_settled_by_a_person, eight_people_settle_it_once;
            health:
                an_endpoint_fails_from_its_first_failure_to_its_next_success,
                a_batch_of_failures_and_successes_is_learned_in_order, eight_failures_begin_once, a_late_success_is_a_success,
                failing_endpoints_are_found_by_how_long, failing_endpoints_come_in_order,
                only_those_that_get_attempts_are_failing, a_new_beginning_forgets_the_failures,
                a_vendor_that_was_stopped_begins_anew, only_its_own_ends_exhaust_an_endpoint,
                what_was_exhausted_before_a_success_does_not_count, a_healthy_endpoint_is_not_exhausted,
                a_warning_is_given_once_until_the_next_success, eight_warnings_warn_once,
                who_was_not_warned_is_not_told_that_it_works_again, a_rule_disables_only_what_still_fails_since_then,
                what_a_rule_disables_is_told_to_the_vendors_other_endpoints, what_a_person_disables_is_told_nobody,
                eight_rules_disable_once, who_comes_back_by_itself_is_told_so, what_a_rule_disabled_is_tried_again,
                what_a_person_disabled_is_left_alone, a_stopped_vendors_endpoints_are_not_tried, those_to_try_come_in_order;
            pauses:
                a_pause_moves_the_deadlines_by_its_length, a_pause_counts_to_its_end_whenever_it_is_ended,
                an_event_of_the_pause_has_its_whole_time_after_it, a_resend_in_the_pause_has_its_whole_time_after_it,
                a_replays_runs_move_too, a_run_that_ended_keeps_the_deadline_it_had, another_change_of_state_ends_a_pause,
                only_what_is_connected_can_be_paused, eight_pauses_pause_once, pauses_that_are_over_are_found,
                what_waits_in_a_pause_stays_open;
            replays:
                a_scope_is_about_what_it_says, a_scope_of_nobody_is_empty, very_many_failed_deliveries_are_counted,
                a_replay_is_kept_as_given, no_replay, replays_are_listed_newest_first, running_replays_come_oldest_first,
                a_step_opens_runs_that_stand_apart, no_more_than_a_window_is_open, eight_steps_open_each_run_once,
                a_replay_is_done_when_all_its_runs_have_ended, a_replay_waits_for_an_endpoint_that_does_not_listen,
                a_deleted_endpoints_replay_is_over, a_cancelled_replay_opens_nothing_more,
                a_replay_that_is_done_cannot_be_cancelled, eight_cancel_each_run_once, what_was_missed_is_opened_first,
                very_many_missed_events_are_opened_in_steps, eight_open_what_was_missed_once,
                another_filter_opens_other_events;
            mails:
                nothing_to_mail, alerts_go_to_the_endpoints_address_or_else_to_its_vendors,
                a_contradiction_is_told_every_operator, alerts_of_an_address_are_gathered, a_mail_ends_what_it_told_of,
                an_address_has_a_rest_between_two_mails, a_mail_that_failed_is_tried_again_in_time,
                eight_who_mailed_end_it_once, a_letter_goes_out_at_once_and_by_itself, mails_that_wait_are_listed;
            sweep:
                nothing_is_old, an_event_goes_with_its_deliveries_and_attempts, numbers_go_on_where_they_stood,
                an_event_with_an_open_run_stays_and_holds_nothing_else, pending_deliveries_of_a_paused_endpoint_hold_nothing_else, a_run_that_was_asked_for_keeps_its_event,
                a_deleted_endpoints_deliveries_go_with_their_events, a_deleted_endpoint_stays_as_long_as_anything_of_it,
                nothing_is_left_of_a_deleted_endpoint, a_dedupe_key_goes_with_its_event, very_many_rows_go_in_bounded_steps,
                eight_sweeps_remove_everything_once, settled_recharges_go_if_they_ever_do, a_recharge_with_an_open_case_stays,
                very_many_recharges_go_in_bounded_steps, old_reports_of_a_recharge_that_stays_go,
                resolved_cases_go_and_open_ones_stay, ended_replays_go_and_running_ones_stay,
                entries_answers_minutes_and_alerts_go_by_their_age, callbacks_go_by_their_age, sessions_links_and_hours_go_by_their_age, very_many_entries_go_in_bounded_steps,
                what_is_removed_does_not_come_back;
            erase:
                nothing_of_that_person, a_persons_number_and_what_was_said_of_them_is_removed,
                cases_and_answers_do_not_name_the_person, kept_answers_do_not_name_the_person,
                what_providers_said_does_not_name_the_person,
                a_librarys_own_keys_hide_no_person, what_comes_back_later_does_not_name_the_person, a_person_behind_very_many_is_found,
                eight_erasures_remove_everything_once, what_is_sealed_again_opens_as_before,
                very_many_endpoints_are_sealed_in_bounded_steps,
                second_factors_and_letters_are_sealed_again;
            submissions:
                a_recharge_is_placed_once, eight_who_place_it_place_one, what_is_taken_counts_as_handed_over,
                eight_who_take_take_each_once, what_follows_is_done_when_it_is_due, recharges_are_looked_up_and_walked_over,
                a_callback_is_kept, whatever_comes_when_the_ledger_agrees_with_the_provider;
            mixed:
                numbers_of_a_mixed_batch_have_no_gap, reports_behind_a_change_of_their_stream_count_on,
                a_refused_batch_with_changes_leaves_nothing,
                nothing_is_remembered_of_a_refused_batch, a_whole_life_in_one_batch, changes_of_one_batch_follow_each_other;
        }
    };
    ($open:path; $($topic:ident: $($exam:ident),+;)+) => {$(
        mod $topic {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $exam() {
                crate::$topic::$exam($open().await).await;
            })+
        }
    )+};
}

mod on_sqlite {
    examine!(crate::sqlite::fresh);
}

mod on_postgres {
    examine!(crate::postgres::fresh);
}
