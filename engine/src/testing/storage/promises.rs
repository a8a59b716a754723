//! The promises of [`Storage`](crate::storage::Storage), one function each, named after what is promised.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "these are tests: what is not as promised panics"
)]

use futures_util::FutureExt as _;

use super::Promise;

pub(super) use world::World;

mod approvals;
mod claims;
mod hints;
mod journal;
mod messages;
mod pruning;
mod runs;
mod world;

macro_rules! promises {
    ($($subject:ident: [$($name:ident),* $(,)?]),* $(,)?) => {
        &[$($(Promise { name: stringify!($name), check: |world| $subject::$name(world).boxed() }),*),*]
    };
}

pub(super) const ALL: &[Promise] = promises![
    runs: [
        a_run_is_kept_as_it_was_given,
        creating_twice_is_creating_once,
        creating_is_whole_or_not_at_all,
        what_was_acknowledged_is_there_after_opening_again,
        unknown_runs_are_not_found,
        lists_are_filtered,
        pages_hold_each_run_once,
        a_foreign_cursor_is_refused,
    ],
    journal: [
        what_is_appended_is_read_at_once,
        parts_of_a_journal_are_read,
        long_texts_are_kept,
        an_append_without_entries_changes_what_stands_beside,
        an_older_epoch_is_fenced,
        nobody_appends_to_what_nobody_owns,
        numbers_that_do_not_fit_are_told_apart,
        fencing_comes_before_numbers,
        an_append_is_whole_or_not_at_all,
        of_appends_with_one_number_one_is_taken,
        runs_do_not_disturb_each_other,
    ],
    claims: [
        claims_take_what_is_queued_or_abandoned,
        claims_take_named_agents_only,
        claims_are_bounded,
        no_two_claims_take_the_same,
        a_lease_that_is_over_stays_over,
        a_worker_without_a_lease_gets_nothing,
        one_run_is_claimed_in_any_state_but_an_end,
        a_released_run_is_as_it_was_asked_to_be,
    ],
    messages: [
        no_message_is_slept_through,
        a_message_is_delivered_once,
        a_message_wakes_what_waits,
        messages_that_are_used_up_stay_so,
        timers_are_over_at_their_moment,
        timers_are_queued_in_bounded_steps,
    ],
    approvals: [
        a_decision_counts_once,
        a_decision_is_about_these_arguments_and_in_time,
        of_decisions_at_once_one_is_taken,
        withdrawn_approvals_are_gone,
        the_end_of_a_run_withdraws_what_it_asked,
        pending_approvals_are_listed,
    ],
    pruning: [
        blobs_are_kept,
        blobs_go_when_nobody_needs_them,
        blobs_are_not_pruned_before_their_time,
        only_finished_runs_are_pruned,
        nothing_of_a_pruned_run_is_left,
        pruning_is_bounded,
    ],
    hints: [
        whoever_watches_hears_of_changes,
        whoever_watches_hears_of_what_others_change,
        whoever_watches_a_run_hears_of_its_entries,
        whoever_watches_a_state_hears_of_it,
        workers_hear_of_what_is_given_back,
    ],
];
